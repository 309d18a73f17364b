"""Compares the index of an MDS folder with the folder's files and with the manifest of its conversion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling.data.manifest import read_set_manifest
from scaling.inputs.shard_index import read_shard_index


def read_index(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The shards that the index describes fully, and what is wrong with the index."""
    try:
        entries = list(json.loads(path.read_text(encoding="utf-8"))["shards"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [], [f"{path} is not the index of a folder of MDS shards ({type(error).__name__}: {error})"]
    damages = [
        f"{path}: entry {number} does not describe a shard"
        for number, entry in enumerate(entries)
        if not _is_shard(entry)
    ]
    shards = [entry for entry in entries if _is_shard(entry) and entry["samples"]]
    if not shards and not damages:
        damages.append(f"{path} lists no samples: the data set is empty")
    return shards, damages


def _is_shard(entry: Any) -> bool:
    """Whether an entry of an index says what is needed to check and read a shard."""
    try:
        files = [file for key in ("raw_data", "zip_data") if (file := entry.get(key)) or key == "raw_data"]
        return (
            entry["samples"] >= 0
            and "column_names" in entry
            and all(isinstance(file["basename"], str) and file["bytes"] >= 0 for file in files)
        )
    except (AttributeError, KeyError, TypeError):
        return False


def unlisted(folder: Path, shards: list[dict[str, Any]]) -> Iterator[str]:
    """A damage for each shard in the folder that the index does not list: its samples are never read."""
    listed = {
        file["basename"] for shard in shards for key in ("raw_data", "zip_data") if (file := shard.get(key))
    }
    for path in sorted(folder.rglob("shard.*.mds*")):
        name = path.relative_to(folder)
        if name.as_posix() not in listed and not any(part.endswith(".tmp") for part in name.parts):
            yield f"{path} is not listed in index.json: its samples are never read"


def against_manifest(folder: Path, shards: list[dict[str, Any]]) -> Iterator[str]:
    """A damage for each disagreement between the index and the conversion's manifest."""
    try:
        manifest = read_set_manifest(folder)
    except ValueError as error:
        yield str(error)
        return
    if manifest is None:
        return
    num_samples = sum(shard["samples"] for shard in shards)
    if manifest.num_samples != num_samples:
        yield (
            f"{folder / 'index.json'} counts {num_samples:,} samples, manifest.json {manifest.num_samples:,}: one of "
            "them was changed"
        )
    try:
        digest = read_shard_index(folder).digest
    except ValueError:
        return  # a shard is missing or the index is unreadable: reported already
    if digest != manifest.digest:
        yield f"{folder / 'index.json'} was changed: its digest is {digest}, manifest.json says {manifest.digest}"


def stated_rejects(folder: Path) -> dict[str, int]:
    """How many samples the conversion left out, by reason; empty for a set without a manifest."""
    try:
        manifest = read_set_manifest(folder)
    except ValueError:
        return {}
    return {} if manifest is None else manifest.rejects
