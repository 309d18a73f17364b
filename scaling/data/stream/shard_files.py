"""Reads an index of shards, and checks a shard's file against it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling.data.file_hashes import file_hashes

MAKE_AGAIN = "Copy or convert the data set again; `scaling data check` names all that is damaged."


class DamagedShard(RuntimeError):
    """A shard is missing, cannot be fetched, or is not what its index says."""


def read_index(path: Path, where: str) -> list[dict[str, Any]]:
    """What an index says of each shard; ValueError naming the place of the data if it cannot be read."""
    try:
        shards = json.loads(path.read_text(encoding="utf-8"))["shards"]
        if not all(shard["samples"] >= 0 and shard["raw_data"]["basename"] for shard in shards):
            raise ValueError("shards without a file")
        return list(shards)
    except OSError as error:
        raise ValueError(f"{where}: index.json cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: index.json is not the index of a folder of MDS shards.") from error


def find_damage(path: Path, num_bytes: int, num_samples: int, hashes: Mapping[str, str]) -> str | None:
    """What is wrong with an uncompressed MDS file, None if nothing is; without `hashes`, size and count only."""
    try:
        found = path.stat().st_size
        if found != num_bytes:
            return f"{found:,} bytes, its index says {num_bytes:,}"
        with open(path, "rb") as stream:
            count = int.from_bytes(stream.read(4), "little")  # an MDS file begins with the number of samples
        if count != num_samples:
            return f"{count:,} samples, its index says {num_samples:,}"
        return _find_other_content(path, hashes)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"


def _find_other_content(path: Path, hashes: Mapping[str, str]) -> str | None:
    if not hashes:
        return None
    name = "xxh64" if "xxh64" in hashes else min(hashes)
    found = file_hashes(path, [name])[name]
    return None if found == hashes[name] else f"its {name} is {found}, its index says {hashes[name]}"
