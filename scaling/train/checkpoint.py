"""Checkpoints: written aside, renamed when whole, then made the latest; the last few are kept."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from scaling.disk import sync_to_disk
from scaling.records import RunDirectory, write_atomically
from scaling.train.engines.protocol import Engine
from scaling.train.idf import LabelStatistics
from scaling.train.random_state import RandomState, seed_rank

KEEP = 2  # the latest, and one before it should the latest turn out unreadable


@dataclasses.dataclass(kw_only=True, slots=True)
class Progress:
    """How far a run is, beyond its weights; equal on all ranks but for the seconds, of which rank 0's are kept."""

    num_ranks: int
    step: int = 0
    train_seconds: float = 0.0
    device_seconds: float = 0.0  # train_seconds of every attempt x its ranks
    data_wait_seconds: float = 0.0  # of train_seconds
    undecodable_images: int = 0  # over all ranks
    empty_captions: int = 0  # over all ranks
    rejects: dict[str, int] = dataclasses.field(
        default_factory=dict
    )  # over all ranks: masked samples by reason
    skipped_steps: int = 0
    last_loss: float = float("nan")  # mean of the last logged interval


class Checkpointer:
    """Saves and restores one run; every method is called by all ranks together."""

    def __init__(
        self,
        run: RunDirectory,
        engine: Engine,
        statistics: LabelStatistics,
        *,
        rank: int,
        num_ranks: int,
        seed: int,
        barrier: Callable[[], None],
    ) -> None:
        self._run = run
        self._engine = engine
        self._statistics = statistics
        self._rank = rank
        self._num_ranks = num_ranks
        self._seed = seed
        self._barrier = barrier

    def save(self, progress: Progress) -> None:
        """Make `progress` and everything that belongs to it the latest checkpoint."""
        name = f"step-{progress.step:09d}"
        aside = self._run.checkpoints / f"{name}.tmp"
        if self._rank == 0:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        self._barrier()
        self._engine.save(aside)
        torch.save(RandomState.of(self._engine.device).parts(), aside / f"random-state-{self._rank}.pt")
        self._barrier()
        if self._rank == 0:
            torch.save(self._statistics.state(), aside / "label-statistics.pt")
            write_atomically(aside / "progress.json", json.dumps(dataclasses.asdict(progress)))
            self._publish(aside, name)
        self._barrier()

    def _publish(self, aside: Path, name: str) -> None:
        self._run.check_lease()
        whole = self._run.checkpoints / name
        shutil.rmtree(whole, ignore_errors=True)  # the same step of an earlier attempt
        sync_to_disk(aside)
        os.replace(aside, whole)
        write_atomically(self._run.checkpoints / "latest", name)
        half_written = list(self._run.checkpoints.glob("step-*.tmp"))  # by an attempt that was killed
        older = sorted({*self._run.checkpoints.glob("step-*")} - {whole, *half_written})
        for old in [*half_written, *older[: max(0, len(older) - (KEEP - 1))]]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> Progress:
        """Continue from the latest checkpoint, whatever number of ranks wrote it; a fresh Progress if there is none.

        On another number of ranks the random states of the old ranks have no owner: the new ranks keep theirs, seeded
        for this step, so that what is dropped at random (patch dropout, drop path) differs, and nothing else.
        """
        folder = self._run.latest_checkpoint()
        if folder is None:
            return Progress(num_ranks=self._num_ranks)
        progress = Progress(**json.loads((folder / "progress.json").read_text()))
        self._engine.load(folder, progress.num_ranks)
        self._statistics.restore(torch.load(folder / "label-statistics.pt", weights_only=True))
        if progress.num_ranks == self._num_ranks:
            RandomState(*torch.load(folder / f"random-state-{self._rank}.pt", weights_only=True)).restore()
        else:
            seed_rank(self._seed, self._rank, progress.step)
        return dataclasses.replace(progress, num_ranks=self._num_ranks)
