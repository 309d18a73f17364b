"""The record of a run holds what its meters measured, over all of its attempts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from metered import FLOPS_PER_SAMPLE, FakeEngine, NoStatistics, planned_cost

from scaling.inputs.data_paths import DataPaths
from scaling.placement import Placement
from scaling.points import EvaluationPlan, RunPoint, run_id
from scaling.processes.assignment import Assignment
from scaling.records import RunDirectory, RunRecord, append_lines
from scaling.sweep.science import Science
from scaling.train.goodput import Goodput
from scaling.train.meters import Meters
from scaling.train.progress import Progress
from scaling.train.recording import make_record

SCIENCE = Science(
    objective="superclass",
    image_tower="vit_nano8",
    samples_seen=512,
    global_batch=64,
    warmup_samples=64,
    image_size=32,
    tokenizer="clip_bpe_4k",
    vocabulary_size=4096,
)
PLACEMENT: dict[str, Any] = {
    "zero_stage": 1,
    "shard_ranks": 1,
    "num_ranks": 1,
    "micro_batch": 64,
    "num_workers": 0,
}


def a_point() -> RunPoint:
    return RunPoint(
        sweep="smoke",
        run_id=run_id(SCIENCE),
        science=SCIENCE,
        data=DataPaths(train=Path("train"), validation=Path("validation"), labelled=None),
        placement=Placement(**PLACEMENT),
        evaluation=EvaluationPlan(tasks=()),
    )


@pytest.fixture
def record(tmp_path: Path, assignment_of: Callable[[int, int], Assignment]) -> RunRecord:
    """Of a run of eight steps, four rows of metrics and one restart."""
    run = RunDirectory(tmp_path)
    rows = [
        {"step": n, "step_seconds_p50": 1.0 + n, "step_seconds_p90": 2.0, "step_seconds_p99": 9.0}
        for n in range(3)
    ]
    append_lines(run.metrics, [*rows, {"step": 3}])
    progress = Progress(num_ranks=1, step=8, train_seconds=16.0, device_seconds=32.0, last_loss=0.5)
    progress.goodput = {"productive": 15.0, "data_stall": 1.0, "lost": 4.0}
    progress.data_bytes = 12_345
    progress.warnings, progress.num_rollbacks, progress.skipped_batches = ["a damaged checkpoint"], 1, [5]
    engine: Any = FakeEngine()
    statistics: Any = NoStatistics()
    goodput = Goodput(RunDirectory(tmp_path), attempt=2, is_main=True, seconds_before=3.0, clock=lambda: 0.0)
    meters = Meters(a_point(), planned_cost(), engine, statistics, goodput, progress)
    assignment = dataclasses.replace(
        assignment_of(0, 1), planned=planned_cost().model_dump_json(), attempt=2, micro_batch=64
    )
    return make_record(a_point(), assignment, run, progress, meters, unique_samples=100, peak_memory=7_000)


def test_the_record_holds_utilisation_and_what_it_is_a_share_of(record: RunRecord) -> None:
    measured = record.measured
    assert measured.peak_flops_per_second is not None and measured.peak_flops_source.startswith("measured")
    expected = 512 * FLOPS_PER_SAMPLE / (32.0 * measured.peak_flops_per_second)
    assert measured.model_flops_utilisation == pytest.approx(expected)


def test_the_record_holds_the_goodput_of_all_attempts(record: RunRecord) -> None:
    expected = {"initialisation": 3.0, "productive": 15.0, "data_stall": 1.0, "lost": 4.0}
    assert record.measured.goodput == {"checkpoint": 0.0, "evaluation": 0.0} | expected


def test_the_record_holds_typical_step_times_and_memory_by_class(record: RunRecord) -> None:
    measured = record.measured
    assert measured.step_seconds == {"p50": 2.0, "p90": 2.0, "p99": 9.0}
    assert measured.peak_memory_bytes == 7_000 and measured.memory_source == "resident set"
    assert measured.memory_bytes["optimizer_states"] == 2 * 16 * 4
    assert measured.data_bytes == 12_345


def test_the_record_tells_of_warnings_and_rollbacks(record: RunRecord) -> None:
    assert record.warnings == ["a damaged checkpoint"]
    assert (record.num_rollbacks, record.skipped_batches) == (1, [5])


def test_a_record_of_before_these_numbers_is_still_read(record: RunRecord) -> None:
    added = {
        "model_flops_utilisation",
        "peak_flops_per_second",
        "peak_flops_source",
        "step_seconds",
        "goodput",
        "data_bytes",
    }
    old = record.model_dump(exclude={"measured": added, "warnings": True, "num_rollbacks": True})
    read = RunRecord.model_validate(old)
    assert read.measured.model_flops_utilisation is None and read.measured.data_bytes is None
    assert read.measured.goodput == {} and read.warnings == []
