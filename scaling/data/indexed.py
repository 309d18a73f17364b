"""An MDS folder as a plain indexed list of samples, for evaluation; and the check that its shards are whole.

StreamingDataset pads and repeats samples to fill its ranks: right for training, wrong for a score.
Neither it nor its reader notices a flipped bit in a local shard, so `preflight` does, once.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import xxhash

from scaling.inputs.data_paths import HOW_TO_MAKE_DATA
from scaling.inputs.shard_index import ShardIndex, read_shard_index
from scaling.records import WriteError, write_atomically

STAMP = ".verified.json"  # beside index.json: which files were hashed and found right
READ_BYTES = 1 << 20
HASH_THREADS = 8  # xxhash and reads let go of the interpreter lock; the disk is the limit


class IndexedSamples(Protocol):
    """Samples by index, as dictionaries of columns (jpg, caption, key and perhaps label)."""

    folder: Path

    @property
    def digest(self) -> str:
        """Of what the folder holds."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...

    def __iter__(self) -> Iterator[dict[str, Any]]: ...


class IndexedDataset:
    """The samples of an MDS folder by index, as dictionaries of columns; read when asked for."""

    def __init__(self, folder: Path) -> None:
        index = _read_index(folder)
        self.folder = folder
        self.digest = index.digest
        self._shards = _shards(folder)
        compressed = next((shard for shard in self._shards if shard.get("zip_data")), None)
        if compressed is not None:
            raise ValueError(
                f"{folder}: the shard {compressed['zip_data']['basename']} is compressed; evaluation reads "
                "uncompressed shards only, write the set without compression."
            )
        self._ends = np.cumsum([shard["samples"] for shard in self._shards])

    @property
    def columns(self) -> dict[str, str]:
        """The encoding of every column that a shard has; not every shard need have all."""
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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preflight:
    """What `preflight` found: all shards are there, as long as the index says; and how far they were read."""

    num_shards: int
    num_bytes: int
    hashes: Literal["verified", "verified before", "not verified"]
    reason: str = ""  # why the content was not verified, or will be again next time


def preflight(folder: Path, *, hashes: bool = True) -> Preflight:
    """That the shards of an MDS folder are those of its index: names and sizes always, xxh64 once.

    A stamp beside the index spares the next run the reading of every byte, until a file changes.
    Raises ValueError naming the first bad shard.
    """
    files = _files(folder)
    for file in files:
        _check_size(folder, file)
    outcome = functools.partial(
        Preflight, num_shards=len(files), num_bytes=sum(file["bytes"] for file in files)
    )
    stamp = _stamp(folder)
    if _stamped(folder) == stamp:
        return outcome(hashes="verified before")
    if not hashes:
        return outcome(hashes="not verified", reason="not asked for")
    unhashed = next((file["basename"] for file in files if "xxh64" not in (file.get("hashes") or {})), None)
    if unhashed is not None:
        return outcome(hashes="not verified", reason=f"index.json holds no xxh64 of {unhashed}")
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        list(threads.map(functools.partial(_check_hash, folder), files))
    return outcome(hashes="verified", reason=keep_stamp(folder))


def keep_stamp(folder: Path) -> str:
    """Note beside the index that every shard was verified as it stands now; why that could not be noted, or ""."""
    try:
        write_atomically(folder / STAMP, _stamp(folder))
    except WriteError as error:
        return f"no stamp could be kept: {error}"
    return ""


def _stamp(folder: Path) -> str:
    return json.dumps({"digest": _read_index(folder).digest, "files": _fingerprint(folder, _files(folder))})


def _files(folder: Path) -> list[dict[str, Any]]:
    """The files of the shards as they stand on disk, with their sizes and hashes."""
    _read_index(folder)
    return [dict(shard.get("zip_data") or shard["raw_data"]) for shard in _shards(folder)]


def _read_index(folder: Path) -> ShardIndex:
    try:
        return read_shard_index(folder)
    except ValueError as error:
        raise ValueError(f"{error} {HOW_TO_MAKE_DATA}") from error


def _shards(folder: Path) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = json.loads((folder / "index.json").read_text(encoding="utf-8"))["shards"]
    return [shard for shard in shards if shard["samples"]]


def _check_size(folder: Path, file: dict[str, Any]) -> None:
    size = (folder / file["basename"]).stat().st_size
    if size != file["bytes"]:
        raise ValueError(
            f"{folder / file['basename']} is damaged: {size:,} bytes, its index says {file['bytes']:,}. "
            "Copy or convert the data set again."
        )


def _check_hash(folder: Path, file: dict[str, Any]) -> None:
    digest = xxhash.xxh64()
    with open(folder / file["basename"], "rb") as stream:
        while block := stream.read(READ_BYTES):
            digest.update(block)
    if digest.hexdigest() != file["hashes"]["xxh64"]:
        raise ValueError(
            f"{folder / file['basename']} is damaged: its xxh64 is {digest.hexdigest()}, its index says "
            f"{file['hashes']['xxh64']}. Copy or convert the data set again."
        )


def _fingerprint(folder: Path, files: list[dict[str, Any]]) -> str:
    """A digest of every file's name, size and time of change: cheap, and different after a rewrite."""
    stats = [
        (file["basename"], file["bytes"], (folder / file["basename"]).stat().st_mtime_ns) for file in files
    ]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def _stamped(folder: Path) -> str | None:
    path = folder / STAMP
    return path.read_text(encoding="utf-8") if path.is_file() else None
