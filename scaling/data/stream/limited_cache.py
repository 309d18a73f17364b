"""A StreamingDataset whose caches stay within their limit.

streaming 0.13 counts a shard when it has come, so that all that is under way at a time (three threads of each worker
fetch) stands above the limit, and it counts and evicts a user's own folder as if it were a cache.  Here room is
reserved before a shard is fetched; who finds none waits until a shard that is under way has come and may be evicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep, time_ns
from typing import Any

import numpy as np
import torch.distributed as dist
from filelock import FileLock
from streaming import StreamingDataset
from streaming.base.constant import TICK
from streaming.base.dataset import _ShardState

from scaling.data.stream.remote_cache import ShardStream


class LimitedCache(StreamingDataset):  # type: ignore[misc]
    """Streams of which those that are cached hold at most `cache_limit` bytes on this machine, indexes included."""

    def __init__(self, streams: Sequence[ShardStream], *, cache_limit: int | None, **settings: Any) -> None:
        has_cache = any(stream.is_cached for stream in streams)
        super().__init__(streams=list(streams), cache_limit=cache_limit if has_cache else None, **settings)
        self._is_cached = np.array([stream.is_cached for stream in streams])[self.stream_per_shard]
        if self.cache_limit:
            self._check_limit(sum(stream.get_index_size() for stream in streams))
            # streaming also counts shards that are read in place, which are in no cache
            in_place = np.flatnonzero(~self._is_cached)
            self.cache_limit += sum(int(self.shards[i].raw_data.bytes) for i in in_place)
        # shards that an earlier run may have left in the caches; each is tried once for eviction
        self._left_from_before = iter(np.flatnonzero(self._is_cached))
        if self._unique_rank_world.is_local_leader:
            for shard_id in np.flatnonzero(self._is_cached):  # verified before they are read
                self._shard_states[shard_id] = _ShardState.REMOTE
        if dist.is_initialized():
            dist.barrier()

    def _check_limit(self, index_bytes: int) -> None:
        largest = max(int(self.shards[i].get_max_size()) for i in np.flatnonzero(self._is_cached))
        if self.cache_limit < index_bytes + largest:
            raise ValueError(
                f"cache_limit is {self.cache_limit:,} bytes, of which the indexes take {index_bytes:,}, and the "
                f"largest shard takes {largest:,} while it is fetched: raise it to several times their sum."
            )

    def prepare_shard(self, shard_id: int, blocking: bool = True) -> None:
        """Make sure that the shard's file is in its folder, verified; if another thread does so, wait if `blocking`.

        Raises what the stream's own prepare_shard raises; the next read of the shard then tries again.
        """
        with self._cache_lock():
            is_under_way = self._shard_states[shard_id] == _ShardState.PREPARING
            if not is_under_way:
                if self._shard_states[shard_id] == _ShardState.LOCAL and self._standing(shard_id):
                    self._shard_access_times[shard_id] = time_ns()
                    return
                self._shard_states[shard_id] = _ShardState.PREPARING
        if not is_under_way:
            self._prepare(shard_id)
        while blocking and self._shard_states[shard_id] == _ShardState.PREPARING:
            sleep(TICK)

    def _prepare(self, shard_id: int) -> None:
        counted = self._standing(shard_id)  # no other thread touches the file of a shard in preparation
        try:
            counted += self._reserve(0 if counted else int(self.shards[shard_id].get_max_size()))
            self.streams[self.stream_per_shard[shard_id]].prepare_shard(self.shards[shard_id])
        finally:
            with self._cache_lock():
                self.cache_usage += self._standing(shard_id) - counted
                self._shard_access_times[shard_id] = time_ns()
                # also after a failure: readers then try again instead of waiting
                self._shard_states[shard_id] = _ShardState.LOCAL

    def _reserve(self, num_bytes: int) -> int:
        """Wait until there is room for `num_bytes` more, and count them as used; 0 if the file is there already."""
        while True:
            with self._cache_lock():
                while (is_full := self._is_full_with(num_bytes)) and self._evict_one():
                    pass
                if not is_full or not num_bytes:
                    self.cache_usage += num_bytes
                    return num_bytes
            sleep(TICK)

    def _is_full_with(self, num_bytes: int) -> bool:
        return bool(self.cache_limit) and self.cache_limit < self.cache_usage + num_bytes

    def _evict_one(self) -> bool:
        """Delete one shard from a cache, never from a set that is read in place; False if all are in preparation.

        Shards that an earlier run left and this one has not used go first.
        """
        states, times = self._shard_states.numpy(), self._shard_access_times.numpy()
        for shard_id in self._left_from_before:
            if states[shard_id] == _ShardState.REMOTE and (num_bytes := self.shards[shard_id].evict()):
                self.cache_usage -= num_bytes
                return True
        candidates = np.flatnonzero((states == _ShardState.LOCAL) & self._is_cached)
        if not len(candidates):
            return False
        self._evict_shard(int(candidates[np.argmin(times[candidates])]))
        return True

    def _standing(self, shard_id: int) -> int:
        """Bytes of the shard's file, 0 if it is not there."""
        raw = self.shards[shard_id].raw_data
        return int(raw.bytes) if Path(self.shards[shard_id].dirname, raw.basename).is_file() else 0

    @contextmanager
    def _cache_lock(self) -> Iterator[None]:
        with FileLock(self._cache_filelock_path):  # one per thread and use: a lock cannot be pickled
            yield
