"""Number of samples and digest of the content of an MDS folder, read from its index alone."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict


class ShardIndex(BaseModel):
    """The training set as a run identifies it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_samples: int
    num_bytes: int  # of the shards' files as they are stored
    digest: str  # 16 hex digits; equal content gives equal digests wherever the folder stands


def read_shard_index(folder: Path) -> ShardIndex:
    """Number of samples and content digest of the MDS data set in `folder`; ValueError if there is none."""
    index = read_index_file(folder / "index.json")
    _check_files_exist(folder, _read_shards(folder / "index.json"))
    return index


def read_index_file(path: Path) -> ShardIndex:
    """The same of an index alone, whose shards may stand elsewhere."""
    shards = _read_shards(path)
    num_samples = sum(int(shard["samples"]) for shard in shards)
    if num_samples == 0:
        raise ValueError(f"{path} lists no samples: the data set is empty.")
    num_bytes = sum(int((shard.get("zip_data") or shard["raw_data"])["bytes"]) for shard in shards)
    return ShardIndex(num_samples=num_samples, num_bytes=num_bytes, digest=_digest(shards))


def _read_shards(index: Path) -> list[dict[str, Any]]:
    if not index.parent.is_dir():
        raise ValueError(f"{index.parent} does not exist or is not a folder.")
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["shards"]
        assert all(
            {"basename", "bytes"} <= set(shard["raw_data"]) and shard["samples"] >= 0 for shard in shards
        )
    except FileNotFoundError:
        raise ValueError(f"{index.parent} has no index.json: it is not a folder of MDS shards.") from None
    except OSError as error:
        raise ValueError(f"{index} cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{index} is not the index of a folder of MDS shards.") from error
    return list(shards)


def _check_files_exist(folder: Path, shards: list[dict[str, Any]]) -> None:
    """One listing per subfolder: a study of the paper's size has some hundred thousand shards."""
    listed: dict[PurePosixPath, set[str]] = {}
    for shard in shards:
        name = PurePosixPath((shard.get("zip_data") or shard["raw_data"])["basename"])
        if name.parent not in listed:
            place = folder / name.parent
            listed[name.parent] = set(os.listdir(place)) if place.is_dir() else set()
        if name.name not in listed[name.parent]:
            raise ValueError(f"{folder / name} is listed in index.json but missing: copy the data set again.")


def _digest(shards: list[dict[str, Any]]) -> str:
    entries = sorted(
        (raw["basename"], raw["bytes"], sorted((raw.get("hashes") or {}).items()), shard["samples"])
        for shard in shards
        for raw in [shard["raw_data"]]
    )
    return hashlib.sha256(json.dumps(entries, separators=(",", ":")).encode()).hexdigest()[:16]
