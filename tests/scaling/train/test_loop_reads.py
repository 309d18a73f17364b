"""The training loop reads numbers from the device at logging steps only; else it would wait for each step's end."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_oracle import VOCABULARY, Case, batch_of
from metered import FakeEngine, Reads, fresh_progress, losses, planned_cost
from torch import Tensor

from scaling.data.batches import Batch
from scaling.records import RunDirectory
from scaling.train import loop as loop_module
from scaling.train.engines.protocol import StepReport
from scaling.train.goodput import Goodput
from scaling.train.idf import build_statistics
from scaling.train.journal import Journal
from scaling.train.ledger import SampleLedger
from scaling.train.loop import TrainingLoop
from scaling.train.meters import Meters
from scaling.train.parts import TrainingParts
from scaling.train.preemption import Preemption

NUM_STEPS, CASE = 12, Case()

OF_THE_HOST = ("hash_of_ids", "StepVerdicts.answer")
"""What is read every step and lies on the host: sample ids from the loader, and the flags of the step before, which
were sent there ahead of time."""


class Stepping(FakeEngine):
    """An engine whose steps report a norm on the device."""

    def step(self, learning_rate: float) -> StepReport:
        return StepReport(gradient_norm=torch.tensor(0.5), was_skipped=False)


class Accumulating:
    """Forward and backward that use the label weights and give losses on the device."""

    def forward_backward(self, batch: Batch, targets: Any, counts: Any) -> dict[str, Tensor]:
        weights_V = counts.share(1).label_weights_V
        return {"loss": weights_V.mean() * losses(1.0)["loss"]}


class Heart:
    """A heart that nobody watches."""

    def beat(self, step: int, phase: str) -> None:
        """Nothing."""


class Checkpoints:
    """A checkpointer that keeps nothing."""

    def save(self, progress: Any, wait: bool = False) -> None:
        """Nothing."""


class Stream:
    """The batches of the steps asked for."""

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        for step in range(first, last):
            yield batch_of(CASE, step)


def parts_of(folder: Path) -> TrainingParts:
    science: dict[str, Any] = {
        "global_batch": CASE.global_batch,
        "samples_seen": NUM_STEPS * CASE.global_batch,
    }
    science |= {
        "learning_rate": 0.1,
        "warmup_samples": 8,
        "schedule": "cosine",
        "decay_shape": "linear",
        "precision": "fp32",
    }
    placement = {"checkpoint_every_samples": 0, "bad_samples_limit": 0.1, "num_ranks": 1, "zero_stage": 0}
    point: Any = types.SimpleNamespace(
        science=types.SimpleNamespace(**science),
        placement=types.SimpleNamespace(**placement),
        evaluation=types.SimpleNamespace(held_out_every_samples=0),
    )
    run = RunDirectory(folder)
    engine: Any = Stepping()
    statistics = build_statistics("online", VOCABULARY, engine.device, None)
    goodput = Goodput(RunDirectory(folder), attempt=1, is_main=True)
    untyped: dict[str, Any] = {
        "engine": engine,
        "stream": Stream(),
        "accumulation": Accumulating(),
        "checkpointer": Checkpoints(),
        "heart": Heart(),
        "faults": types.SimpleNamespace(before_step=lambda step: None),
        "meters": Meters(point, planned_cost(), engine, statistics, goodput, fresh_progress()),
    }
    return TrainingParts(
        **untyped,
        point=point,
        attempt=1,
        statistics=statistics,
        journal=Journal(run, is_main=True, first_step=0, first_sample=0),
        ledger=SampleLedger(run, CASE.global_batch, engine.device, is_main=True),
        preemption=Preemption(end_now=lambda reason: None),
        hold_out=lambda samples_seen: None,
    )


def train_and_note_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Who read, innermost function first; what lies on the host is left out."""
    monkeypatch.setattr(loop_module, "LOG_ROWS", 3)
    with Reads() as reads:
        TrainingLoop(parts_of(folder), fresh_progress()).run()
    return [reader for reader in reads.readers if reader and reader[0] not in OF_THE_HOST]


def outside_of_rows(found: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [reader for reader in found if not {"TrainingLoop._log", "TrainingLoop._save"} & set(reader)]


def test_between_rows_of_metrics_the_loop_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = train_and_note_reads(tmp_path, monkeypatch)
    assert found, "rows of metrics do read"
    assert not outside_of_rows(found)


def test_a_loop_that_reads_each_loss_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_done = Meters.step_done

    def reading(meters: Meters, losses: Any, report: StepReport) -> None:
        float(losses["loss"])
        step_done(meters, losses, report)

    monkeypatch.setattr(Meters, "step_done", reading)
    assert len(outside_of_rows(train_and_note_reads(tmp_path, monkeypatch))) >= NUM_STEPS


@pytest.mark.parametrize(
    "read",
    [
        float,
        int,
        bool,
        Tensor.item,
        Tensor.tolist,
        Tensor.cpu,
        Tensor.numpy,
        lambda value: torch.zeros(3)[value.long()],
    ],
)
def test_the_count_sees_every_way_to_read(read: Callable[[Tensor], Any]) -> None:
    with Reads() as reads:
        read(torch.tensor(1.0))
    assert reads.readers
