"""Which shards a point reads: all of a source, or the first that hold as many samples as it may see.

An index of its own per point makes subsets nested (those of a larger budget begin with those of a smaller one) and
keeps the memory of streaming's epoch plan proportional to the point's samples rather than to the data set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.data.stream.remote_cache import fetch_index
from scaling.data.stream.shard_files import read_index
from scaling.data.stream.sources import StreamSource, shares
from scaling.records import write_atomically


def index_files(sources: Sequence[StreamSource], unique_samples: int, folder: Path) -> list[Path]:
    """Where the index of each source stands for this point: the source's own if it is here and read whole."""
    return [
        folder / f"source-{number}.json" if source.remote or unique_samples else source.local / "index.json"
        for number, source in enumerate(sources)
    ]


def write_index_files(
    sources: Sequence[StreamSource], unique_samples: int, folder: Path, *, seconds: float
) -> None:
    """Write those of `index_files` that are the point's own; a remote has `seconds` to answer.

    Raises ValueError for an index that cannot be had, and for sources with too few samples.
    """
    files = index_files(sources, unique_samples, folder)
    for source, share, file in zip(sources, shares(sources), files, strict=True):
        if file.parent == folder:
            folder.mkdir(parents=True, exist_ok=True)
            shards = _read_shards(source, folder, seconds)
            chosen = (
                first_shards(shards, math.ceil(unique_samples * share), source) if unique_samples else shards
            )
            write_atomically(file, json.dumps({"version": 2, "shards": chosen}))


def first_shards(shards: list[dict[str, Any]], at_least: int, source: StreamSource) -> list[dict[str, Any]]:
    """The fewest first shards that hold at least so many samples; ValueError if all of them hold fewer."""
    held = 0
    for number, shard in enumerate(shards):
        held += shard["samples"]
        if held >= at_least:
            return shards[: number + 1]
    raise ValueError(
        f"{source.where} holds {held:,} samples, but unique_samples asks for {at_least:,} of it (its proportion of all "
        "sources): lower unique_samples, set it to 0 to use everything, or change the proportions."
    )


def _read_shards(source: StreamSource, folder: Path, seconds: float) -> list[dict[str, Any]]:
    path = source.local / "index.json"
    if source.remote is not None:
        path = folder / "fetched.json"
        fetch_index(source, path, seconds)
    return [shard for shard in read_index(path, source.where) if shard["samples"]]
