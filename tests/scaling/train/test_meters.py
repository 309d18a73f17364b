"""The meters: what a row of metrics says, what a run's progress takes over, and that steps read nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from metered import (
    FLOPS_PER_SAMPLE,
    GLOBAL_BATCH,
    FakeEngine,
    NoStatistics,
    fresh_progress,
    losses,
    planned_cost,
    point,
)

from scaling.records import RunDirectory, read_lines
from scaling.train import meters as meters_module
from scaling.train.engines.protocol import StepReport
from scaling.train.goodput import Goodput
from scaling.train.meters import Meters
from scaling.train.progress import Progress
from scaling.train.utilisation import PeakRate

META = torch.device("meta")  # tensors there hold nothing: reading one raises


class FakeClock:
    """What the meters take for time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(time, "perf_counter", clock)
    peak = PeakRate(flops_per_second=10_000.0, source="a stand-in")
    monkeypatch.setattr(meters_module, "peak_rate", lambda device, precision: peak)
    return clock


def meters_of(folder: Path, clock: FakeClock, progress: Progress, engine: Any = None) -> Meters:
    goodput = Goodput(RunDirectory(folder), attempt=1, is_main=True, seconds_before=1.0, clock=clock)
    statistics: Any = NoStatistics()
    return Meters(point(), planned_cost(), engine or FakeEngine(), statistics, goodput, progress)


def arriving(clock: FakeClock, *waits: float) -> Iterator[int]:
    """Batches, each after so many seconds."""
    for index, seconds in enumerate(waits):
        clock.now += seconds
        yield index


def report(norm: float = 0.5) -> StepReport:
    return StepReport(gradient_norm=torch.tensor(norm), was_skipped=False)


def test_a_row_tells_the_interval_since_the_last_one(tmp_path: Path, clock: FakeClock) -> None:
    progress = fresh_progress()
    meters = meters_of(tmp_path, clock, progress)
    rows = []
    for index in meters.batches(arriving(clock, 7.0, 1.0, 1.0, 0.0)):
        clock.now += 3.0
        meters.step_done(losses(float(index)), report(norm=index))
        progress.step += 1
        if index % 2:
            rows.append(meters.row(progress, learning_rate=0.25))
    first, second = rows
    assert first["step"] == 2 and first["samples_seen"] == 2 * GLOBAL_BATCH
    assert (first["loss"], first["part"], second["loss"]) == (0.5, 1.0, 2.5)
    assert first["gradient_norm"] == 1.0 and first["learning_rate"] == 0.25
    # 3 + 1 + 3; the first wait is no stall
    assert first["samples_per_second"] == pytest.approx(2 * GLOBAL_BATCH / 7)
    assert first["data_wait_seconds"] == 1.0 and first["data_wait_share"] == pytest.approx(1 / 7)
    assert (first["step_seconds_p50"], first["step_seconds_p99"]) == (3.0, 4.0)
    assert first["model_flops_utilisation"] == pytest.approx(
        first["samples_per_second"] * FLOPS_PER_SAMPLE / 10_000
    )
    assert second["train_seconds"] == progress.train_seconds == 14.0 and progress.last_loss == 2.5
    assert progress.data_wait_seconds == 2.0


def test_checkpoints_and_evaluations_are_neither_training_nor_part_of_a_step(
    tmp_path: Path, clock: FakeClock
) -> None:
    progress = fresh_progress()
    meters = meters_of(tmp_path, clock, progress)
    for index in meters.batches(arriving(clock, 2.0, 0.0)):
        clock.now += 3.0
        meters.step_done(losses(1.0), report())
        progress.step += 1
        with meters.phase("checkpoint"):
            clock.now += 50.0
        with meters.phase("evaluation"):
            clock.now += 20.0
    clock.now += 5.0
    row = meters.row(progress, learning_rate=0.1)
    assert row["samples_per_second"] == pytest.approx(2 * GLOBAL_BATCH / 6)
    assert row["step_seconds_p99"] == 3.0 and row["train_seconds"] == 6.0
    expected = {
        "initialisation": 3.0,
        "productive": 6.0,
        "data_stall": 0.0,
        "checkpoint": 100.0,
        "evaluation": 45.0,
    }
    assert progress.goodput == expected | {"lost": 0.0} == meters.goodput_seconds()
    assert {name.removeprefix("goodput_") for name in row if name.startswith("goodput_")} == set(
        progress.goodput
    )


def test_no_batch_is_waited_for_while_the_device_is_still_busy(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = fresh_progress()
    meters = meters_of(tmp_path, clock, progress)
    monkeypatch.setattr(meters._times, "is_idle", lambda: False)
    for _ in meters.batches(arriving(clock, 1.0, 9.0)):
        meters.step_done(losses(1.0), report())
    meters.note_times(progress)
    assert progress.goodput["data_stall"] == 0.0 and progress.goodput["productive"] == 9.0


def test_a_rollback_drops_what_was_measured_since_the_checkpoint(tmp_path: Path, clock: FakeClock) -> None:
    progress = fresh_progress()
    meters = meters_of(tmp_path, clock, progress)
    rows = []
    for index in meters.batches(arriving(clock, 0.0, 0.0, 0.0)):
        clock.now += (4.0, 9.0, 5.0)[index]
        meters.step_done(losses(float(index)), report())
        if index == 0:
            rows.append(meters.row(progress, learning_rate=0.1))
            checkpoint = Progress(num_ranks=1, goodput=progress.goodput, train_seconds=progress.train_seconds)
        elif index == 1:
            progress = checkpoint
            meters.rolled_back(progress)
        else:
            rows.append(meters.row(progress, learning_rate=0.1))
    assert [row["loss"] for row in rows] == [0.0, 2.0]
    assert rows[1]["step_seconds_p99"] == 5.0 and rows[1]["samples_per_second"] == pytest.approx(
        GLOBAL_BATCH / 5
    )
    assert progress.goodput["productive"] == 9.0 == progress.train_seconds and progress.goodput["lost"] == 9.0


def test_a_resumed_run_counts_device_seconds_of_every_attempt_on_its_ranks(
    tmp_path: Path, clock: FakeClock
) -> None:
    before = {"productive": 90.0, "data_stall": 10.0, "initialisation": 5.0}
    progress = Progress(num_ranks=4, step=10, train_seconds=100.0, device_seconds=200.0, goodput=before)
    meters = meters_of(tmp_path, clock, progress)
    for _ in meters.batches(arriving(clock, 0.0)):
        clock.now += 5.0
        meters.step_done(losses(1.0), report())
        progress.step += 1
    meters.row(progress, learning_rate=0.1)
    assert progress.train_seconds == 105.0 and progress.device_seconds == 220.0
    assert meters.utilisation(progress) == pytest.approx(
        11 * GLOBAL_BATCH * FLOPS_PER_SAMPLE / (220 * 10_000)
    )


def test_the_account_is_left_for_the_next_attempt_with_every_row_and_checkpoint(
    tmp_path: Path, clock: FakeClock
) -> None:
    progress = fresh_progress()
    meters = meters_of(tmp_path, clock, progress)
    for _ in meters.batches(arriving(clock, 0.0)):
        clock.now += 5.0
        meters.step_done(losses(1.0), report())
        meters.row(progress, learning_rate=0.1)
        with meters.phase("checkpoint"):
            clock.now += 2.0
    written = [row["seconds"] for row in read_lines(tmp_path / "goodput.jsonl")]
    assert [(row["productive"], row["checkpoint"]) for row in written] == [(5.0, 0.0), (5.0, 2.0)]


def test_steps_read_nothing_from_the_device_and_rows_do(tmp_path: Path) -> None:
    engine, progress = FakeEngine(), fresh_progress()
    meters = meters_of(tmp_path, FakeClock(), progress, engine)
    on_device = {name: value.to(META) for name, value in losses(1.0).items()}
    for _ in meters.batches(range(3)):
        meters.step_done(on_device, StepReport(gradient_norm=torch.zeros((), device=META), was_skipped=False))
        with meters.phase("checkpoint"):
            pass
        meters.note_times(progress)
    with pytest.raises(NotImplementedError, match="meta"):
        meters.row(progress, learning_rate=0.1)


def test_rows_hold_numbers_only_and_the_peak_memory_by_class(tmp_path: Path, clock: FakeClock) -> None:
    progress = fresh_progress()
    meters = meters_of(tmp_path, clock, progress)
    for _ in meters.batches(arriving(clock, 0.0)):
        meters.step_done(losses(1.0), StepReport(gradient_norm=0.5, was_skipped=False))
    row = meters.row(progress, learning_rate=0.1)
    assert all(isinstance(value, (int, float)) for value in row.values())
    assert (row["memory_parameters"], row["memory_gradients"], row["memory_optimizer_states"]) == (
        128,
        64,
        128,
    )
    assert row["memory_peak"] == 320 + row["memory_rest"]
