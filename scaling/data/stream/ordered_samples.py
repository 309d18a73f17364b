"""MosaicML's StreamingDataset, made to fail where it would hang or end early.

A shard that cannot be prepared fails in streaming 0.13 inside a background thread: other workers wait for it for
ever, or an epoch ends early without an exception.  Here whoever first reads a sample of that shard tries again and
raises the failure.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import sleep
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from streaming.base.constant import TICK
from streaming.base.dataset import _ShardState

from scaling.data.images.showing import Showing
from scaling.data.stream.lenient_reading import read_leniently
from scaling.data.stream.limited_cache import LimitedCache
from scaling.data.stream.remote_cache import ShardStream
from scaling.data.stream.shard_files import MAKE_AGAIN, DamagedShard, find_damage

# Of a mixture, at most, each of as many samples as it takes: a second or two of Python.
DRAWS_PER_EPOCH = 1 << 22


class Show(Protocol):
    """Makes a showing of a stored sample."""

    def __call__(self, sample: dict[str, Any], *, sample_id: int, epoch: int) -> Showing: ...


class OrderedSamples(LimitedCache):
    """The shown samples of this rank, in streaming's order; ids count the samples of all streams, one after another."""

    def __init__(
        self, streams: Sequence[ShardStream], *, cache_limit: int | None, show: Show, **settings: Any
    ) -> None:
        super().__init__(streams, cache_limit=cache_limit, **settings)
        self.sampling_granularity = max(1, self.num_samples // DRAWS_PER_EPOCH)
        self._show = show
        self._epoch = 0
        self._failures: dict[int, Exception] = {}  # of this process, by shard
        # Likewise, whether its size was checked; not of shards in a cache, which are verified when they are fetched.
        self._looked_at = self._is_cached.copy()

    def start_at(self, epoch: int, sample_in_epoch: int) -> None:
        """Continue at a position of the global order, in any epoch, at the next iteration; called on every rank."""
        self.next_epoch = epoch  # a position in an epoch before this one would be taken for an old one
        self.load_state_dict(
            {
                "epoch": epoch,
                "sample_in_epoch": sample_in_epoch,
                "num_canonical_nodes": self.num_canonical_nodes,
                "shuffle_seed": self.shuffle_seed,
                "initial_physical_nodes": 1,  # any number of machines then continues the order of one
            }
        )

    def get_item(self, sample_id: int, retry: int = 7) -> Showing:
        """A shown sample; DamagedShard if it cannot be read."""
        shard_id, row = self.spanner[sample_id]
        shard = self.shards[shard_id]
        try:
            sample = super().get_item(sample_id, retry)
        except (UnicodeDecodeError, json.JSONDecodeError):
            sample = read_leniently(shard, row)
        except (IndexError, ValueError) as error:
            self._look_at(shard_id)
            raise self._damaged(shard_id, f"its sample {row} cannot be read ({error})") from error
        if not self._looked_at[shard_id]:
            self._look_at(shard_id)
            self._looked_at[shard_id] = True
        showing = self._show(sample, sample_id=int(sample_id), epoch=self._epoch)
        showing["num_bytes"] = shard.sample_bytes
        return showing

    def prepare_shard(self, shard_id: int, blocking: bool = True) -> None:
        """Make sure that the shard's file is there.  Only with `blocking`, as readers ask, wait and raise failures."""
        is_known = shard_id in self._failures or self._shard_states[shard_id] == _ShardState.LOCAL
        if not blocking and is_known:
            return  # streaming would take a file lock, for every sample
        if shard_id in self._failures:
            raise self._failures[shard_id]
        try:
            super().prepare_shard(shard_id, blocking)
        except Exception as error:
            self._failures[shard_id] = error
            if blocking:
                raise

    def _ready_thread(self, it: Any) -> None:
        """Let samples be read up to the first whose shard is in preparation; as streaming's, with one difference.

        Streaming's waits for ever on a shard that was evicted before it looked; readers fetch such a shard again.
        """
        while not (it.should_exit() or it.ready_index == it.total or self._event.is_set()):
            sample_id = it.sample_ids[it.ready_index]
            shard_id = -1 if sample_id == -1 else self.spanner[sample_id][0]  # -1 fills the end of an epoch
            if self.predownload < it.ready_index - it.yield_index or self._is_in_preparation(shard_id):
                sleep(TICK)
            else:
                it.ready_index += 1
        it.on_exit()

    def _is_in_preparation(self, shard_id: int) -> bool:
        if shard_id < 0:
            return False
        if self._shard_states[shard_id] == _ShardState.REMOTE:
            self.prepare_shard(shard_id, False)
        return bool(self._shard_states[shard_id] == _ShardState.PREPARING)

    def __iter__(self) -> Iterator[Showing]:
        yield from super().__iter__()
        if self._event.is_set():
            raise RuntimeError(
                "a background thread of the training stream failed: its traceback is in this log."
            )

    def _resume_incr_epoch(self) -> tuple[int, int]:
        """The epoch and the position in it; called in every worker when an epoch begins."""
        epoch, sample_in_epoch = super()._resume_incr_epoch()
        self._epoch = epoch
        return epoch, sample_in_epoch

    def _get_work(self, epoch: int, sample_in_epoch: int) -> NDArray[np.int64]:
        with warnings.catch_warnings():  # it means places behind the last whole batch, which are never read
            warnings.filterwarnings("ignore", message="Attempting to partition")
            work: NDArray[np.int64] = super()._get_work(epoch, sample_in_epoch)
        return work

    def _look_at(self, shard_id: int) -> None:
        """DamagedShard if the file is shorter or longer than its index says, or holds fewer or more samples."""
        shard = self.shards[shard_id]
        damage = find_damage(_path(shard), shard.raw_data.bytes, shard.samples, {})
        if damage is not None:
            raise self._damaged(shard_id, damage)

    def _damaged(self, shard_id: int, damage: str) -> DamagedShard:
        return DamagedShard(f"{_path(self.shards[shard_id])} is damaged: {damage}. {MAKE_AGAIN}")


def _path(shard: Any) -> Path:
    return Path(shard.dirname, shard.raw_data.basename)
