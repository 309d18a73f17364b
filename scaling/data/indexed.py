"""An MDS folder as a plain indexed list of samples, for evaluation.

StreamingDataset pads and repeats samples to fill its ranks: right for training, wrong for a score.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scaling.inputs.data_paths import HOW_TO_MAKE_DATA
from scaling.inputs.shard_index import ShardIndex, read_shard_index


class IndexedSamples(Protocol):
    """Samples by index, as dictionaries of columns (jpg, caption, key and perhaps label)."""

    folder: Path

    @property
    def digest(self) -> str:
        """Of the folder's content: equal content, equal digest."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...

    def __iter__(self) -> Iterator[dict[str, Any]]: ...


class IndexedDataset:
    """The samples of an MDS folder by index, as dictionaries of columns; read when asked for."""

    def __init__(self, folder: Path) -> None:
        index = read_index(folder)
        self.folder = folder
        self.digest = index.digest
        self._shards = stored_shards(folder)
        compressed = next((shard for shard in self._shards if shard.get("zip_data")), None)
        if compressed is not None:
            raise ValueError(
                f"{folder}: the shard {compressed['zip_data']['basename']} is compressed; evaluation reads "
                "uncompressed shards only, write the set without compression."
            )
        self._ends = np.cumsum([shard["samples"] for shard in self._shards])

    @property
    def columns(self) -> dict[str, str]:
        """The MDS encoding of every column that occurs in a shard, by name; a shard may lack some."""
        return {
            name: encoding
            for shard in self._shards
            for name, encoding in zip(shard["column_names"], shard["column_encodings"], strict=True)
        }

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder}: no sample {index}, there are {len(self):,}")
        shard = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[shard - 1]) if shard else 0
        try:
            sample: dict[str, Any] = self._readers[shard][index - first]
        except (IndexError, OSError) as error:
            name = self._shards[shard]["raw_data"]["basename"]
            raise ValueError(
                f"{self.folder / name}: sample {index - first} cannot be read ({error})."
            ) from error
        return sample

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    @functools.cached_property
    def _readers(self) -> list[Any]:
        # here, because it takes 4 s: it brings transformers and every cloud's client
        from streaming.base.format import reader_from_json

        return [reader_from_json(str(self.folder), None, shard) for shard in self._shards]


@functools.lru_cache(maxsize=1)
def last_opened(folder: Path) -> IndexedDataset:
    """The dataset of a folder, kept open until another one is asked for: workers ask with every piece of work."""
    return IndexedDataset(folder)


def read_index(folder: Path) -> ShardIndex:
    """Number of samples and content digest of an MDS folder; ValueError that tells how to make one."""
    try:
        return read_shard_index(folder)
    except ValueError as error:
        raise ValueError(f"{error} {HOW_TO_MAKE_DATA}") from error


def stored_shards(folder: Path) -> list[dict[str, Any]]:
    """What the index of an MDS folder says of each shard that holds samples."""
    shards: list[dict[str, Any]] = json.loads((folder / "index.json").read_text(encoding="utf-8"))["shards"]
    return [shard for shard in shards if shard["samples"]]
