"""Records correct the next plan: by what was measured over what was predicted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaling.plan import Plan, plan_sweep
from scaling.planning.plan_notes import plan_notes
from scaling.points import resolve_points
from scaling.predicting.calibration import (
    Calibration,
    CalibrationRow,
    measure,
    read_calibration,
    write_calibration,
)
from scaling.records import DataCounts, Measured, RunDirectory, RunRecord
from scaling.spec import load_sweep

SWEEP = """
name: s
question: q
vary:
  objective: [superclass, clip]
  image_tower: [vit_s16, vit_b16]
fixed: {samples_seen: 1M, global_batch: 1024, warmup_samples: 100K}
"""

PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    (tmp_path / "s.yaml").write_text(SWEEP)

    def planned(calibration: Calibration = Calibration(), accelerator: str = "h100_sxm") -> Plan:
        points = resolve_points(load_sweep(tmp_path / "s.yaml"), num_ranks=8, require_data=False)
        return plan_sweep(points, accelerator, calibration=calibration)

    return planned


def finish(
    plan: Plan, folder: Path, index: int, *, slower: float, memory: float = 1.0, **changes: Any
) -> None:
    """Leave the record of a planned run that took `slower` times its uncalibrated hours, `memory` times its bytes."""
    told = plan.points[index]
    run = RunDirectory(folder / told.point.run_id)
    run.path.mkdir(parents=True)
    run.point.write_text("{}")
    hours = told.cost.device_hours * told.cost.calibration.get("utilisation", 1.0) * slower
    allocated = sum(size for name, size in told.cost.memory_bytes.items() if name != "fragmentation")
    measured: dict[str, Any] = {
        "samples_seen": 1_000_448,
        "steps": told.cost.steps,
        "num_ranks": 8,
        "train_seconds": hours * 3600 / 8,
        "device_hours": hours,
        "samples_per_second": 1.0,
        "peak_memory_bytes": round(allocated * memory),
        "memory_source": "allocator",
        "attempts": 1,
    }
    run.write_record(
        RunRecord(
            sweep="s",
            run_id=told.point.run_id,
            science=told.point.science.model_dump(mode="json"),
            placement=told.point.placement.model_dump(mode="json"),
            data=DataCounts(unique_samples=1, epochs=1, undecodable_images=0, empty_captions=0),
            planned=told.cost,
            measured=Measured(**{**measured, **changes}),
            final_loss=1.0,
            skipped_steps=0,
            evaluations=[],
            environment={},
            finished_at="2026-01-01T00:00:00Z",
        )
    )


def test_the_next_plan_takes_as_long_as_the_runs_did(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of()
    for index in range(4):
        finish(plan, tmp_path / "runs", index, slower=1.5 + index)
    corrected = plan_of(measure(tmp_path / "runs"))
    for index, (before, after) in enumerate(zip(plan.points, corrected.points, strict=True)):
        assert after.cost.device_hours == pytest.approx((1.5 + index) * before.cost.device_hours)
        assert after.cost.utilisation == pytest.approx(before.cost.utilisation / (1.5 + index))
        assert after.cost.train_flops == before.cost.train_flops
    assert corrected.totals.uncalibrated_device_hours == pytest.approx(plan.totals.device_hours)
    assert corrected.contract_hash == plan.contract_hash


def test_a_calibrated_prediction_is_not_calibrated_twice(plan_of: PlanOf, tmp_path: Path) -> None:
    """Runs that take what a calibrated plan said leave the calibration as it is."""
    finish(plan_of(), tmp_path / "first", 0, slower=2.0)
    first = measure(tmp_path / "first")
    finish(plan_of(first), tmp_path / "second", 0, slower=2.0)
    (before,), (after,) = first.rows, measure(tmp_path / "second").rows
    assert after.utilisation == pytest.approx(before.utilisation)


def test_towers_that_never_ran_are_corrected_by_all_runs_on_their_accelerator(
    plan_of: PlanOf, tmp_path: Path
) -> None:
    plan = plan_of()
    finish(plan, tmp_path / "runs", 0, slower=2.0)
    finish(plan, tmp_path / "runs", 1, slower=8.0)
    corrected = plan_of(measure(tmp_path / "runs"))
    ratios = [
        a.cost.device_hours / b.cost.device_hours for a, b in zip(corrected.points, plan.points, strict=True)
    ]
    assert ratios == pytest.approx([2.0, 8.0, 4.0, 4.0])  # geometric mean


def test_runs_on_another_accelerator_say_nothing(plan_of: PlanOf, tmp_path: Path) -> None:
    finish(plan_of(), tmp_path / "runs", 0, slower=2.0)
    found = plan_of(measure(tmp_path / "runs"), accelerator="a100_sxm_80gb")
    assert found.points == plan_of(accelerator="a100_sxm_80gb").points


def test_memory_is_corrected_by_the_allocator_s_peak_and_not_by_a_resident_set(
    plan_of: PlanOf, tmp_path: Path
) -> None:
    plan = plan_of()
    finish(plan, tmp_path / "cuda", 0, slower=1.0, memory=1.25)
    finish(plan, tmp_path / "cpu", 0, slower=1.0, memory=30.0, memory_source="resident set")
    (row,) = measure(tmp_path / "cuda").rows
    assert row.memory == pytest.approx(1.25, rel=1e-6)
    assert measure(tmp_path / "cpu").rows[0].memory is None
    before, after = plan.points[0].cost, plan_of(measure(tmp_path / "cuda")).points[0].cost
    spare = before.memory_bytes["fragmentation"]
    assert before.peak_memory_bytes is not None and after.peak_memory_bytes is not None
    assert after.peak_memory_bytes - spare == pytest.approx(
        1.25 * (before.peak_memory_bytes - spare), rel=1e-6
    )
    assert after.memory_bytes == before.memory_bytes


def test_checkpoints_that_are_on_the_disk_are_weighed(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of()
    finish(plan, tmp_path / "runs", 0, slower=1.0)
    folder = tmp_path / "runs" / plan.points[0].point.run_id / "checkpoints" / "step-000000977"
    folder.mkdir(parents=True)
    predicted = plan.points[0].cost.checkpoint_bytes
    assert predicted is not None
    with open(folder / "state", "wb") as stream:
        stream.truncate(2 * predicted)
    assert measure(tmp_path / "runs").rows[0].checkpoint == pytest.approx(2.0)
    assert plan_of(measure(tmp_path / "runs")).points[0].cost.checkpoint_bytes == 2 * predicted


def test_records_of_before_hardware_flops_were_planned_are_left_out(plan_of: PlanOf, tmp_path: Path) -> None:
    finish(plan_of(), tmp_path / "runs", 0, slower=2.0)
    path = next((tmp_path / "runs").glob("*/record.json"))
    record = json.loads(path.read_text())
    del record["planned"]["hardware_flops"]
    path.write_text(json.dumps(record))
    assert measure(tmp_path / "runs") == Calibration(left_out=1)


def test_a_folder_without_runs_calibrates_nothing(plan_of: PlanOf, tmp_path: Path) -> None:
    assert measure(tmp_path / "nowhere") == Calibration()
    assert plan_of(Calibration()).points == plan_of().points


def test_a_calibration_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="c.json: not a calibration"):
        read_calibration(tmp_path / "c.json")


def test_a_written_calibration_reads_back_and_gives_way_to_the_sweep_s_own(tmp_path: Path) -> None:
    def row(tower: str, ratio: float) -> CalibrationRow:
        return CalibrationRow(
            objective="clip", image_tower=tower, accelerator="b200", num_runs=1, utilisation=ratio
        )

    path = tmp_path / "calibration.json"
    write_calibration(Calibration(rows=(row("vit_s16", 0.5), row("vit_b16", 0.6))), path)
    both = read_calibration(path).with_rows_of(Calibration(rows=(row("vit_b16", 0.9),)))
    assert both.factors("clip", "vit_s16", "b200") == pytest.approx({"utilisation": 0.5})
    assert both.factors("clip", "vit_b16", "b200") == pytest.approx({"utilisation": 0.9})


def test_records_that_are_left_out_are_told(plan_of: PlanOf) -> None:
    assert "2 finished runs of before hardware FLOPs" in plan_notes(plan_of(Calibration(left_out=2)))[1]
    assert "left out" not in plan_notes(plan_of())[1]


def a_row(ratio: str) -> str:
    named = '"objective": "clip", "image_tower": "vit_s16", "accelerator": "b200", "num_runs": 1'
    return f'{{"rows": [{{{named}, "memory": {ratio}}}]}}'


@pytest.mark.parametrize(
    "text",
    [
        *("{", '{"rows": [{}]}', '{"rows": [], "left_out": "x"}', "[]", '{"calibration_version": 2}'),
        *(a_row("0"), a_row("-1"), a_row("NaN"), a_row("Infinity"), a_row("1e300"), a_row("1e-300")),
    ],
)
def test_a_file_that_is_no_calibration_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ValueError, match="c.json: not a calibration"):
        read_calibration(tmp_path / "c.json")
    with pytest.raises(ValueError, match="absent.json: cannot be read"):
        read_calibration(tmp_path / "absent.json")
