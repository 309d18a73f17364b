"""The shards of one source: read in place, or fetched into a folder of this machine and verified there.

This mends what streaming 0.13 does not handle: it does not verify files that are there already, leaves a corrupt file
in the cache for the next run, waits for ever on a store that does not answer, and counts and evicts a user's own folder
as if it were a cache.  One process per machine prepares a shard, once a run.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from numpy.typing import NDArray
from streaming import Stream
from streaming.base.compression import decompress
from streaming.base.storage.download import DOWNLOADER_MAPPINGS, CloudDownloader

from scaling.data.stream.lenient_reading import SizedReader
from scaling.data.stream.shard_files import MAKE_AGAIN, DamagedShard, find_damage, read_index
from scaling.data.stream.sources import StreamSource

# to fetch a shard that arrives damaged; streaming itself retries a store that fails
TRIALS = 2

_log = logging.getLogger(__name__)


class ShardStream(Stream):  # type: ignore[misc]
    """streaming's Stream with its index in a file of its own and shards that are verified before they are read."""

    def __init__(
        self, source: StreamSource, index: Path, *, proportion: float | None, seconds: float
    ) -> None:
        check_remote(source)
        super().__init__(
            remote=source.remote_folder,
            local=str(source.local),
            proportion=proportion,
            download_timeout=seconds / TRIALS,
            download_retry=TRIALS,
        )
        self._source = source
        self._index = index
        self._seconds = seconds

    @property
    def is_cached(self) -> bool:
        """Whether the folder is a copy of files that stand elsewhere, to be deleted at will."""
        return self.remote is not None

    def get_shards(self, world: object, allow_unsafe_types: bool) -> list[Any]:
        """A reader per shard that the index lists."""
        listed = read_index(self._index, self._source.where)
        readers = [SizedReader.from_json(self.local, self.split, shard) for shard in listed]
        for reader in readers:
            reader.validate(allow_unsafe_types)
            self._check(reader)
        if self.is_cached and not all(reader.raw_data.hashes for reader in readers):
            _log.warning("%s: its index holds no hashes; shards are verified by size and count", self.remote)
        return readers

    def _check(self, reader: Any) -> None:
        if reader.compression and not self.is_cached:
            raise ValueError(
                f"{self._path(reader.raw_data)} is compressed, and would be unpacked into the data set: give the "
                "folder as `remote`, and as `local` a folder of this machine for the unpacked shards."
            )
        for role, columns in (("an image", {"jpg"}), ("a caption", {"caption", "captions"})):
            if not columns & set(reader.column_names):
                raise ValueError(
                    f"{self._source.where}: the shard {reader.raw_data.basename} has no column for {role} "
                    f"({' or '.join(sorted(columns))}), only {', '.join(reader.column_names)}: convert the set again."
                )

    def get_index_size(self) -> int:
        return self._index.stat().st_size

    def set_up_local(self, shards: list[Any], cache_usage_per_shard: NDArray[np.int64]) -> None:
        """Fill in how many bytes of each shard are in the folder; a data set in place has them all."""
        for number, shard in enumerate(shards):
            raw = shard.raw_data
            if self.is_cached and shard.zip_data is not None:
                # left by a job that was killed unpacking it
                self._path(shard.zip_data).unlink(missing_ok=True)
            stands = not self.is_cached or self._path(raw).is_file()
            cache_usage_per_shard[number] = raw.bytes if stands else 0

    def prepare_shard(self, shard: Any) -> int:
        """Make sure that the shard is in the folder and intact; returns how many bytes that added.

        A damaged file, found or fetched, is deleted and fetched again once.  Raises DamagedShard.
        """
        path = self._path(shard.raw_data)
        if not self.is_cached:
            raise DamagedShard(f"{path} is missing. {MAKE_AGAIN}")
        was_there = path.is_file()
        damage = ""
        for _ in range(TRIALS):
            if not path.is_file():
                self._fetch(shard, path)
            found = find_damage(path, shard.raw_data.bytes, shard.samples, shard.raw_data.hashes)
            if found is None:
                return 0 if was_there else int(shard.raw_data.bytes)
            damage = found
            path.unlink(missing_ok=True)
        raise DamagedShard(
            f"{self._name(shard.raw_data)} is damaged, also when fetched again: {damage}. {MAKE_AGAIN}"
        )

    def _fetch(self, shard: Any, path: Path) -> None:
        stored = shard.zip_data or shard.raw_data
        try:
            within(self._seconds, lambda: self._download_file(stored.basename))
        except Exception as error:  # every store has exceptions of its own
            raise DamagedShard(f"{self._name(stored)} cannot be fetched: {_said(error)}.") from error
        if shard.zip_data is not None:
            self._unpack(shard, path)

    def _unpack(self, shard: Any, path: Path) -> None:
        packed = self._path(shard.zip_data)
        temporary = path.with_name(f"{path.name}.tmp")
        try:
            temporary.write_bytes(decompress(shard.compression, packed.read_bytes()))
        except OSError:
            raise  # the disk
        except Exception:  # the decompressor's own; an empty file is what is damaged and fetched again
            temporary.write_bytes(b"")
        os.replace(temporary, path)
        packed.unlink()

    def _path(self, file: Any) -> Path:
        return Path(self.local, file.basename)

    def _name(self, file: Any) -> str:
        return f"{self._source.where.rstrip('/')}/{file.basename}"


def check_remote(source: StreamSource) -> None:
    """ValueError if the remote is of a kind that streaming has no downloader for."""
    remote = source.remote_folder
    if remote is not None and urlparse(remote).scheme not in DOWNLOADER_MAPPINGS:
        known = ", ".join(f"{scheme}://" for scheme in sorted(DOWNLOADER_MAPPINGS) if scheme)
        raise ValueError(f"{source.remote}: no such remote is known; use file://, a plain path, or {known}.")


def fetch_index(source: StreamSource, target: Path, seconds: float) -> None:
    """Write the index of a remote source to `target`; ValueError naming the remote if it cannot be had."""
    check_remote(source)
    remote = f"{str(source.remote_folder).rstrip('/')}/index.json"
    target.unlink(missing_ok=True)  # a downloader leaves what is there

    def download() -> None:
        CloudDownloader.direct_download(remote, str(target), seconds)

    try:
        within(seconds, download)
    except Exception as error:  # every store has exceptions of its own
        raise ValueError(f"{source.where}/index.json cannot be fetched: {_said(error)}.") from error


def within(seconds: float, work: Callable[[], object]) -> None:
    """Do the work in a thread; TimeoutError if it takes longer, and the thread is then abandoned."""
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    if failures:
        raise failures[0]


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
