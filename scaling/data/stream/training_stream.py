"""The training stream: this rank's share of every global batch, in one order for any number of ranks.

MosaicML's StreamingDataset gives the order.  The code around it, here and in `ordered_samples` and `remote_cache`,
avoids its measured pitfalls (streaming 0.13): the position is set explicitly before each epoch (a resume at an epoch's
end would yield an empty one), batches are counted against the plan, workers have a timeout, and data sets of one
machine are constructed under a lock (see `machine_lock`).

The id of a sample, as the ledger counts it, is its place among the samples of all sources, one source after another,
each cut to the point's unique samples; of one source alone, its place in the data set.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch.distributed as dist
import xxhash
from streaming.base.shuffle import algos as SHUFFLE_ALGORITHMS

from scaling.data.batches import Batch, CaptionSettings, Collator
from scaling.data.images.augmentation import Augmentation
from scaling.data.images.showing import BadSamples, ShowSettings, show
from scaling.data.stream.batch_loader import BatchLoader
from scaling.data.stream.ordered_samples import OrderedSamples
from scaling.data.stream.remote_cache import ShardStream
from scaling.data.stream.sources import StreamSource, shares
from scaling.data.stream.subset_index import index_files, write_index_files
from scaling.data.text.captions import CaptionTokenizer

CANONICAL_NODES = 8
"""The order is drawn as if there were this many machines, so that it does not depend on how many there are."""

SHUFFLE_BLOCK = 1 << 18  # samples; streaming's own default for few canonical nodes
# one attempt to fetch a shard may take a third of the workers' timeout, so that its error names the shard
FETCHES_PER_TIMEOUT = 3


class DataExhausted(RuntimeError):
    """The loader ended before the plan did."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StreamSettings:
    """What decides which pixels and tokens a step sees, and how long to wait for them."""

    sources: tuple[StreamSource, ...]
    seed: int
    global_batch: int
    image_size: int
    augmentation: Augmentation
    captions: CaptionSettings
    # the first shards that hold as many, of all sources in proportion; 0 = everything
    unique_samples: int = 0
    cache_limit: int | None = None  # bytes that the shards of all remotes may take on this machine
    shuffle_algorithm: str = "py1e"
    bad_samples: BadSamples = "skip"
    worker_timeout_seconds: int = 600  # a loader that says nothing for ten minutes has lost a shard


class TrainingStream:
    """Batches of one rank from any position on, over as many epochs as asked."""

    def __init__(
        self,
        settings: StreamSettings,
        tokenizer: CaptionTokenizer,
        *,
        num_ranks: int,
        num_workers: int,
        pin_memory: bool,
        scratch: Path | None = None,
    ) -> None:
        """`scratch` is a folder of this machine for the point's own index, by default the temporary one."""
        _check(settings, num_ranks)
        self._settings = settings
        self._where = ", ".join(source.where for source in settings.sources)
        self._per_rank = settings.global_batch // num_ranks
        self._dataset = self._open(scratch or Path(tempfile.gettempdir()))
        self._steps_per_epoch = self._count_steps_per_epoch()
        self._loader = BatchLoader(
            self._dataset,
            Collator(tokenizer, settings.captions, image_size=settings.image_size),
            batch=self._per_rank,
            num_workers=num_workers,
            pin_memory=pin_memory,
            timeout_seconds=settings.worker_timeout_seconds,
        )

    def _open(self, scratch: Path) -> OrderedSamples:
        settings, sources = self._settings, self._settings.sources
        seconds = settings.worker_timeout_seconds / FETCHES_PER_TIMEOUT
        identity = repr((sources, settings.unique_samples))
        folder = scratch / f"streams-{xxhash.xxh64_hexdigest(identity)}"
        if int(os.environ.get("LOCAL_RANK", "0")) == 0:
            write_index_files(sources, settings.unique_samples, folder, seconds=seconds)
        if dist.is_initialized():
            dist.barrier()
        shown = ShowSettings(
            seed=settings.seed,
            image_size=settings.image_size,
            augmentation=settings.augmentation,
            bad_samples=settings.bad_samples,
            where=self._where,
        )
        files = index_files(sources, settings.unique_samples, folder)
        streams = [
            ShardStream(source, file, proportion=share if len(sources) > 1 else None, seconds=seconds)
            for source, share, file in zip(sources, shares(sources), files, strict=True)
        ]
        return OrderedSamples(
            streams,
            cache_limit=settings.cache_limit,
            show=functools.partial(show, settings=shown),
            shuffle=True,
            shuffle_algo=settings.shuffle_algorithm,
            shuffle_seed=settings.seed,
            shuffle_block_size=SHUFFLE_BLOCK,
            num_canonical_nodes=CANONICAL_NODES,
            batch_size=self._per_rank,
            batching_method="random",
            predownload=4 * self._per_rank,
        )

    def _count_steps_per_epoch(self) -> int:
        """Whole global batches in an epoch, without its last CANONICAL_NODES samples, some of which are repeats.

        Each canonical node orders its part of the samples; streaming fills the parts that are one sample shorter.
        """
        shown = self.num_unique_samples - self.num_unique_samples % CANONICAL_NODES
        if shown < self._settings.global_batch:
            raise ValueError(
                f"{self._where}: an epoch of {self.num_unique_samples:,} unique samples shows {shown:,}, fewer than "
                f"global_batch ({self._settings.global_batch:,}): use more data or a smaller batch."
            )
        return shown // self._settings.global_batch

    @property
    def num_unique_samples(self) -> int:
        """Samples that can be shown; an epoch has as many, of a mixture some of them repeatedly and others not."""
        return int(self._dataset.num_samples)

    @property
    def shared_memory_prefix(self) -> int:
        """The number in the names of the shared-memory segments of this dataset."""
        return int(self._dataset._shm_prefix_int)

    def batches(self, first_step: int, num_steps: int) -> Iterator[Batch]:
        """The batches of steps first_step, ..., num_steps - 1; each epoch holds whole global batches only.

        Raises DamagedShard, StreamStalled, or DataExhausted when the data ends before the plan.
        """
        step = first_step
        try:
            while step < num_steps:
                epoch, step_in_epoch = divmod(step, self._steps_per_epoch)
                todo = min(num_steps - step, self._steps_per_epoch - step_in_epoch)
                yield from self._epoch(epoch, step_in_epoch, todo)
                step += todo
        finally:
            self._loader.end_workers()

    def _epoch(self, epoch: int, first: int, todo: int) -> Iterator[Batch]:
        self._dataset.start_at(epoch, first * self._settings.global_batch)
        done = 0
        for batch in self._loader:
            yield batch
            done += 1
            if done == todo:
                return
        raise DataExhausted(
            f"{self._where}: epoch {epoch} ended after {first + done} of {first + todo} global batches. "
            "Run `scaling data check` on the data."
        )


def _check(settings: StreamSettings, num_ranks: int) -> None:
    if settings.global_batch % num_ranks:
        raise ValueError(
            f"global_batch ({settings.global_batch:,}) does not divide over {num_ranks} ranks: change one of them."
        )
    if settings.shuffle_algorithm not in SHUFFLE_ALGORITHMS:
        raise ValueError(
            f"shuffle_algorithm {settings.shuffle_algorithm!r} is none of: {', '.join(SHUFFLE_ALGORITHMS)}."
        )
    told = int(os.environ.get("WORLD_SIZE", "1"))
    if told != num_ranks or (num_ranks > 1 and "LOCAL_WORLD_SIZE" not in os.environ):
        raise ValueError(
            f"WORLD_SIZE is {told} and LOCAL_WORLD_SIZE {os.environ.get('LOCAL_WORLD_SIZE', 'not set')}, for "
            f"{num_ranks} ranks: without both, streaming would give every rank the same samples, or another order. "
            "Start with deepspeed or torchrun; under DeepSpeed export LOCAL_WORLD_SIZE=$LOCAL_SIZE."
        )
