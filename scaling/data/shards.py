"""Writing MDS folders: shards of one part, and the merged index of many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.records import write_atomically

# Not "jpeg": its decoder hands out lazy Pillow images, and its encoder compresses again.
IMAGE_TEXT_COLUMNS = {"jpg": "bytes", "caption": "str", "key": "str"}
LARGEST_SHARD_BYTES = 256 * 2**20  # with streaming's default, 64 MiB, 1.28B images are half a million shards
SMALLEST_SHARD_BYTES = 2**20
SHARDS_PER_SET = 64  # aimed at in small sets, so that there are shards to shuffle


def shard_bytes(set_bytes: int) -> int:
    """The size limit of the shards of a set of about `set_bytes`."""
    return min(LARGEST_SHARD_BYTES, max(SMALLEST_SHARD_BYTES, set_bytes // SHARDS_PER_SET))


def write_shards(
    folder: Path,
    columns: Mapping[str, str],
    samples: Iterable[Mapping[str, Any]],
    *,
    size_limit: int,
    hashes: Sequence[str] = ("xxh64",),
    compression: str | None = None,
) -> int:
    """Write samples to new MDS shards in `folder`; returns how many there were.

    OSError when the disk is full; the folder is then incomplete and must be deleted.
    """
    from streaming.base.format.mds import MDSWriter  # 4 s: it brings transformers and every cloud's client

    writer = MDSWriter(
        out=str(folder),
        columns=dict(columns),
        hashes=list(hashes),
        compression=compression,
        size_limit=size_limit,
    )
    num_samples = 0
    try:
        for sample in samples:
            writer.write(sample)
            num_samples += 1
        writer.finish()
    except BaseException:
        writer.cancel_future_jobs()
        raise
    return num_samples


def merge_indexes(folder: Path, parts: Sequence[Path]) -> None:
    """Write the index of `folder`: the shards of its sub-folders `parts`, in their order."""
    shards = []
    for part in parts:
        for shard in json.loads((part / "index.json").read_text(encoding="utf-8"))["shards"]:
            files = {key: shard.get(key) for key in ("raw_data", "zip_data")}
            moved = {
                key: file and {**file, "basename": f"{part.name}/{file['basename']}"}
                for key, file in files.items()
            }
            shards.append({**shard, **moved})
    write_atomically(folder / "index.json", json.dumps({"version": 2, "shards": shards}))
