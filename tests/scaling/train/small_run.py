"""A run of a few steps in this process: the real loop, checkpoints and meters around the reference engine."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from engine_oracle import VOCABULARY, Case, batch_of, objective_of, settings_of, state_of
from metered import planned_cost
from torch import Tensor

from scaling.checkpoints.publishing import KeepRule
from scaling.data.batches import Batch
from scaling.data.images.augmentation import Augmentation
from scaling.placement import PlacementSettings, place
from scaling.processes.heartbeat import Heartbeat, HeartbeatWriter, read_heartbeat
from scaling.records import RunDirectory, read_lines
from scaling.sweep.science import Science
from scaling.train.accumulation import Accumulation
from scaling.train.checkpoint import Checkpointer
from scaling.train.engines.plain import PlainEngine
from scaling.train.engines.protocol import Piece
from scaling.train.goodput import Goodput
from scaling.train.idf import build_statistics
from scaling.train.journal import Journal
from scaling.train.ledger import SampleLedger
from scaling.train.meters import Meters
from scaling.train.optim import learning_rate_of_step
from scaling.train.parts import TrainingParts
from scaling.train.played_faults import Faults
from scaling.train.preemption import Preemption
from scaling.train.progress import Progress
from scaling.train.rank_group import RankGroup
from scaling.train.rollback import train

CASE = Case(global_batch=8, micro_batch=4)
NUM_STEPS = 10
LEARNING_RATE = 3e-3


class Played(Faults):
    """What a test does before a step."""

    def __init__(self, actions: dict[int, Callable[[], object]]) -> None:
        self.actions = actions

    def before_step(self, step: int) -> None:
        self.actions.get(step, lambda: None)()


class Batches:
    """A stream of the case's batches, in which every sample has an id of its own."""

    num_unique_samples = CASE.global_batch * NUM_STEPS

    def batches(self, first_step: int, num_steps: int) -> Iterator[Batch]:
        for step in range(first_step, num_steps):
            batch = batch_of(CASE, step)
            batch.sample_ids_B.add_(step * CASE.global_batch)
            yield dataclasses.replace(batch, num_bytes=1000 + step)


class SmallRun:
    """One process's attempt at the run in a folder."""

    def __init__(
        self, folder: Path, *, checkpoint_every: int = 4, hold_out: Any = None, **science: Any
    ) -> None:
        self.run = RunDirectory(folder)
        self.engine = PlainEngine(objective_of(CASE), settings_of(CASE))
        self.statistics = build_statistics("online", VOCABULARY, self.engine.device, None)
        self.ended: list[str] = []  # reasons for which the process would have ended at once
        self.preemption = Preemption(self.ended.append)
        self.faults = Played({})
        self._science = self._science_of(science)
        self._checkpoint_every = checkpoint_every
        self._hold_out = hold_out
        self.checkpointer = self._checkpointer()

    @staticmethod
    def _science_of(changes: dict[str, Any]) -> Science:
        fields = {
            "objective": "superclass",
            "image_tower": CASE.image_tower,
            "image_size": CASE.image_size,
            "samples_seen": NUM_STEPS * CASE.global_batch,
            "global_batch": CASE.global_batch,
            "warmup_samples": 0,
            "learning_rate": LEARNING_RATE,
            "tokenizer": "clip_bpe_4k",
            "precision": "fp32",
        }
        return Science(**fields | changes)

    def _checkpointer(self) -> Checkpointer:
        return Checkpointer(
            self.run,
            self.engine,
            self.statistics,
            group=RankGroup(rank=0, num_ranks=1),
            seed=0,
            keep=KeepRule(latest=2, every_samples=0, global_batch=CASE.global_batch),
            environment=dict,
        )

    def train(self) -> Progress:
        """Continue from the last checkpoint to the end."""
        progress = self.checkpointer.restore()
        return train(self._parts(progress), progress)

    def _parts(self, progress: Progress) -> TrainingParts:
        every = self._checkpoint_every * CASE.global_batch
        settings = PlacementSettings(checkpoint_every_samples=every, micro_batch=CASE.micro_batch)
        held_out_every = 2 * CASE.global_batch if self._hold_out else 0
        point: Any = types.SimpleNamespace(
            science=self._science,
            placement=place(self._science, settings, num_ranks=1, ranks_per_node=1),
            evaluation=types.SimpleNamespace(held_out_every_samples=held_out_every),
        )
        goodput = Goodput(self.run, attempt=1, is_main=True)
        stream: Any = Batches()
        first_sample = progress.step * CASE.global_batch
        return TrainingParts(
            point=point,
            attempt=1,
            engine=self.engine,
            stream=stream,
            statistics=self.statistics,
            accumulation=Accumulation(
                self.engine, augmentation=Augmentation(), micro_batch=CASE.micro_batch, num_ranks=1
            ),
            checkpointer=self.checkpointer,
            journal=Journal(self.run, is_main=True, first_step=progress.step, first_sample=first_sample),
            ledger=SampleLedger(self.run, CASE.global_batch, self.engine.device, is_main=True),
            meters=Meters(point, planned_cost(), self.engine, self.statistics, goodput, progress),
            heart=HeartbeatWriter(self.run.path / "heartbeat"),
            preemption=self.preemption,
            faults=self.faults,
            hold_out=self._hold_out,
        )

    def heartbeat(self) -> Heartbeat:
        """The last sign of life."""
        heartbeat = read_heartbeat(self.run.path / "heartbeat")
        assert heartbeat is not None
        return heartbeat

    def weight(self) -> Piece:
        """Some weight of the engine."""
        return next(piece for piece in self.engine.pieces() if piece.kind == "weight")

    def poison(self) -> None:
        """Make a weight not a number, so that the next loss is none either."""
        self.weight().values[0] = torch.nan

    def state(self) -> dict[tuple[str, str], Tensor]:
        """Weights, moments and buffers, whole."""
        return state_of(self.engine)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a file of the run."""
        return list(read_lines(self.run.path / name))


def state_after(steps: list[int]) -> dict[tuple[str, str], Tensor]:
    """What a plain sequence of training steps makes of the fresh engine: no loop, no checkpoints."""
    engine = PlainEngine(objective_of(CASE), settings_of(CASE))
    statistics = build_statistics("online", VOCABULARY, engine.device, None)
    accumulation = Accumulation(
        engine, augmentation=Augmentation(), micro_batch=CASE.micro_batch, num_ranks=1
    )
    for step in steps:
        batch = batch_of(CASE, step)
        accumulation.forward_backward(batch, batch.targets, statistics.observe(batch.targets))
        total = NUM_STEPS * CASE.global_batch
        engine.step(
            learning_rate_of_step(
                step * CASE.global_batch,
                CASE.global_batch,
                peak=LEARNING_RATE,
                warmup_samples=0,
                total_samples=total,
                schedule="cosine",
            )
        )
    return state_of(engine)


def assert_equal_states(found: dict[Any, Tensor], expected: dict[Any, Tensor]) -> None:
    """Bit by bit."""
    assert found.keys() == expected.keys()
    assert [key for key in found if not torch.equal(found[key], expected[key])] == []
