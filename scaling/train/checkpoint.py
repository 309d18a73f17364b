"""Checkpoints of a run: written while it trains on, whole or not at all, continued by any number of ranks.

    checkpointer.save(progress)             # copies the state and returns; a thread writes it
    checkpointer.save(progress, wait=True)  # before a process ends: returns when it is in force
    checkpointer.finish()                   # waits for the save that is under way; raises its error
    progress = checkpointer.restore()       # into the engine, the statistics and the random state

All ranks call each method together. No thread of it takes part in a collective.
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from scaling.checkpoints.contents import Header, sealed
from scaling.checkpoints.publishing import (
    KeepRule,
    bring_into_force,
    check_whole,
    make_aside,
    wait_for_manifests,
)
from scaling.checkpoints.reading import Checkpoint
from scaling.checkpoints.saving import Saving
from scaling.checkpoints.state_hash import sum_of_hashes
from scaling.checkpoints.writing import Part, copy_of_pieces, copy_of_tensors, write_share
from scaling.records import RunDirectory
from scaling.train.checkpoint_choice import changes_of_environment, choose_checkpoint
from scaling.train.engines.protocol import Engine
from scaling.train.environment import environment
from scaling.train.idf import LabelStatistics
from scaling.train.progress import Progress
from scaling.train.random_state import RandomState, seed_rank
from scaling.train.rank_group import RankGroup
from scaling.train.takeover import progress_of, take_over


class Checkpointer:
    """Saves and restores one run; every method is called by all ranks together."""

    def __init__(
        self,
        run: RunDirectory,
        engine: Engine,
        statistics: LabelStatistics,
        *,
        group: RankGroup,
        seed: int,
        keep: KeepRule,
        environment: Callable[[], Mapping[str, str]] = environment,
    ) -> None:
        """`environment` tells of code, libraries and device; it is asked on rank 0 only, once."""
        self._run = run
        self._engine = engine
        self._statistics = statistics
        self._group = group
        self._seed = seed
        self._keep = keep
        self._environment = dict(environment()) if group.rank == 0 else {}
        self._saving: Saving | None = None
        self._aside: Path | None = None  # where that writes
        self._saved_step: int | None = None

    @property
    def saved_step(self) -> int | None:
        """The step of the last checkpoint known to be in force, saved or restored here; None before the first."""
        return self._saved_step

    def save(self, progress: Progress, *, wait: bool = False) -> None:
        """Begin to make `progress` and everything that belongs to it the latest checkpoint.

        Waits for the save before this one and raises its error; with `wait`, also for this one.
        """
        self.finish()
        aside = self._group.rank_0_decides(lambda: make_aside(self._run, progress.step))
        aside.mkdir(parents=True, exist_ok=True)  # rank 0's may not show on this machine yet
        parts, header = self._parts(), self._header(progress)
        rank, step = self._group.rank, progress.step

        def publish(abandoned: threading.Event) -> None:
            if rank == 0:
                whole = self._completed(header, aside, abandoned)
                bring_into_force(self._run, aside, step, sealed(whole), self._keep)

        self._aside = aside
        self._saving = Saving(step, lambda: write_share(aside, rank, parts), publish)
        self._saving.start()
        if wait:
            self.finish()

    def finish(self) -> None:
        """Return when the checkpoint being written, if any, is in force; raises what went wrong, on all ranks."""
        saving, self._saving = self._saving, None
        if saving is None:
            return
        try:
            self._group.fail_together(saving.error_of_writing())
            self._group.fail_together(saving.error_of_publishing())
        except Exception:
            saving.abandon()
            if self._group.rank == 0 and self._aside is not None:
                shutil.rmtree(self._aside, ignore_errors=True)
            raise
        self._saved_step = saving.step

    def restore(self) -> Progress:
        """Continue from the newest whole checkpoint, whatever wrote it; a fresh Progress for a new run.

        Newer ones that are damaged are named in the progress's warnings. On another number of ranks the random states
        of the old ranks have no owner: the new ranks draw from states seeded for this step, so that what is dropped
        at random (patch dropout, drop path) differs, and nothing else. Raises NoGoodCheckpoint, UnreadableCheckpoint.
        """
        self.finish()
        checkpoint, warnings = choose_checkpoint(self._run, self._group)
        if checkpoint is None:
            return Progress(num_ranks=self._group.num_ranks, warnings=warnings)
        progress = progress_of(checkpoint)
        take_over(checkpoint, self._engine, self._group)
        self._statistics.restore(checkpoint.own("label_statistics", rank=0))
        self._restore_random_state(checkpoint, progress.step)
        changes = changes_of_environment(checkpoint.header.environment, self._environment, progress.step)
        told = self._group.gather(warnings + changes)[0]
        self._saved_step = progress.step
        new = [warning for warning in told if warning not in progress.warnings]
        return dataclasses.replace(
            progress, num_ranks=self._group.num_ranks, warnings=progress.warnings + new
        )

    def _parts(self) -> list[Part]:
        """Copies of all that this rank writes."""
        cpu, device = RandomState.of(self._engine.device).parts()
        parts = copy_of_pieces(self._engine.pieces())
        parts += copy_of_tensors("random_state", {"cpu": cpu, "device": device})
        if self._group.rank == 0:
            parts += copy_of_tensors("label_statistics", self._statistics.state())
        return parts

    def _header(self, progress: Progress) -> Header:
        """All but what the ranks' manifests will say."""
        return Header(
            progress=dataclasses.asdict(progress),
            optimizer_steps=self._engine.optimizer_steps,
            environment=self._environment,
            state_hash={},
            manifests=(),
        )

    def _completed(self, header: Header, aside: Path, abandoned: threading.Event) -> Header:
        seals, manifests = wait_for_manifests(aside, self._group.num_ranks, abandoned)
        check_whole(entry for manifest in manifests for entry in manifest.entries)
        state_hash = sum_of_hashes(manifest.state_hash for manifest in manifests)
        return header.model_copy(update={"manifests": tuple(seals), "state_hash": state_hash})

    def _restore_random_state(self, checkpoint: Checkpoint, step: int) -> None:
        if checkpoint.num_ranks == self._group.num_ranks:
            states = checkpoint.own("random_state", self._group.rank)
            RandomState(states["cpu"], states.get("device")).restore()
        else:
            seed_rank(self._seed, self._group.rank, step)
