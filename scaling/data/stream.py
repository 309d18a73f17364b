"""The training stream: MDS shards -> this rank's share of every global batch, in one order for any world size.

MosaicML's StreamingDataset gives the order. What surrounds it here are its measured pitfalls (streaming 0.13):
the position is set explicitly before each epoch (a resume at an epoch's end would yield an empty one), batches are
counted against the plan (a missing shard ends an epoch early without an exception), workers have a timeout (it
would otherwise hang), and datasets of one machine are constructed under a lock (their shared-memory prefixes are
probed, then created).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import xxhash
from streaming import StreamingDataset
from torch import Tensor
from torch.utils.data import DataLoader

from scaling.data.batches import Batch, CaptionSettings, Collator
from scaling.data.captions import CaptionTokenizer
from scaling.data.transforms import UndecodableImage, decode, training_crop

CANONICAL_NODES = 8
"""The order is drawn as if there were this many machines, so that it does not depend on how many there are.
Eight divides, or is divided by, the node counts people use."""

SHUFFLE_BLOCK = 1 << 18  # samples; streaming's own default for few canonical nodes
WORKER_TIMEOUT_SECONDS = 600  # a loader that says nothing for ten minutes has lost a shard


class DataExhausted(RuntimeError):
    """The loader ended before the plan did: a shard is missing or unreadable."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StreamSettings:
    """What decides which pixels and tokens a step sees."""

    folder: Path
    seed: int
    global_batch: int
    image_size: int
    crop_scale_min: float
    crop_scale_max: float
    captions: CaptionSettings


class _CaptionedImages(StreamingDataset):  # type: ignore[misc]
    """StreamingDataset whose samples are cropped pictures and one caption, both functions of (seed, sample, epoch)."""

    settings: StreamSettings
    epoch: int = 0  # set before the loader's workers are forked

    def get_item(self, sample_id: int, retry: int = 7) -> dict[str, Any]:
        sample = super().get_item(sample_id, retry)
        draw = xxhash.xxh64_intdigest(f"{self.settings.seed}/{self.epoch}/{sample_id}")
        captions = sample.get("captions") or [sample["caption"]]
        return {
            "id": sample_id,
            "image": self._crop(sample["jpg"], draw % 2**31),
            "caption": captions[(draw >> 32) % len(captions)],
        }

    def _crop(self, image: bytes, seed: int) -> Tensor | None:
        settings = self.settings
        try:
            return training_crop(
                decode(image),
                settings.image_size,
                scale_min=settings.crop_scale_min,
                scale_max=settings.crop_scale_max,
                seed=seed,
            )
        except UndecodableImage:
            return None


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
    ) -> None:
        self._settings = settings
        self._per_rank = settings.global_batch // num_ranks
        self._dataset = _CaptionedImages(
            local=str(settings.folder),
            shuffle=True,
            shuffle_algo="py1e",
            shuffle_seed=settings.seed,
            shuffle_block_size=SHUFFLE_BLOCK,
            num_canonical_nodes=CANONICAL_NODES,
            batch_size=self._per_rank,
            batching_method="random",
            predownload=4 * self._per_rank,
        )
        self._dataset.settings = settings
        self._loader: DataLoader[Batch] = DataLoader(
            self._dataset,
            batch_size=self._per_rank,
            num_workers=num_workers,
            collate_fn=Collator(tokenizer, settings.captions, image_size=settings.image_size),
            drop_last=True,
            pin_memory=pin_memory,
            timeout=WORKER_TIMEOUT_SECONDS if num_workers else 0,
            prefetch_factor=4 if num_workers else None,
        )

    @property
    def num_unique_samples(self) -> int:
        return int(self._dataset.num_samples)

    @property
    def shared_memory_prefix(self) -> int:
        """The number in the names of the shared-memory segments of this dataset."""
        return int(self._dataset._shm_prefix_int)

    def batches(self, first_step: int, num_steps: int) -> Iterator[Batch]:
        """The batches of steps first_step, ..., num_steps - 1; each epoch holds whole global batches only.

        Raises DataExhausted when the data ends before the plan.
        """
        steps_per_epoch = self.num_unique_samples // self._settings.global_batch
        step = first_step
        while step < num_steps:
            epoch, step_in_epoch = divmod(step, steps_per_epoch)
            todo = min(num_steps - step, steps_per_epoch - step_in_epoch)
            yield from self._epoch(epoch, step_in_epoch, todo)
            step += todo

    def _epoch(self, epoch: int, first: int, todo: int) -> Iterator[Batch]:
        self._dataset.epoch = epoch
        self._dataset.load_state_dict(
            {
                "epoch": epoch,
                "sample_in_epoch": first * self._settings.global_batch,
                "num_canonical_nodes": CANONICAL_NODES,
                "shuffle_seed": self._settings.seed,
                "initial_physical_nodes": None,
            }
        )
        done = 0
        for batch in self._loader:
            yield batch
            done += 1
            if done == todo:
                return
        raise DataExhausted(
            f"{self._settings.folder}: epoch {epoch} ended after {first + done} of {first + todo} global batches: "
            "a shard is missing or unreadable. Run `scaling data check` on the folder."
        )


@contextlib.contextmanager
def one_at_a_time_on_this_machine(
    is_local_leader: bool, barrier: Callable[[], None], lock: Path
) -> Iterator[None]:
    """Construct datasets of this job while no other job of this user on this machine does so."""
    with contextlib.ExitStack() as stack:
        if is_local_leader:
            stream = stack.enter_context(open(lock, "w"))
            fcntl.flock(stream, fcntl.LOCK_EX)
        barrier()
        yield
        barrier()


def machine_lock(scratch: Path) -> Path:
    """The lock file that all jobs of this user on this machine share, beside a point's temporary folder."""
    return scratch.parent / f"scaling-streaming-{os.getuid()}.lock"
