"""The plan: a contract over what will run, with what it should cost beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.plan import (
    Plan,
    cost_summary,
    format_hours,
    plan_columns,
    plan_rows,
    plan_sweep,
    plan_totals,
    write_plan,
)
from scaling.points import resolve_points
from scaling.spec import load_sweep

PAPER = """
name: paper
question: q
vary:
  objective: [superclass, clip]
  image_tower: [vit_s16, vit_b16]
fixed: {samples_seen: 512M}
"""

PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    def planned(*overrides: str, num_ranks: int = 8, accelerator: str = "h100_sxm") -> Plan:
        path = tmp_path / "paper.yaml"
        path.write_text(PAPER)
        points = resolve_points(load_sweep(path, overrides), num_ranks=num_ranks, require_data=False)
        return plan_sweep(points, accelerator)

    return planned


def test_the_contract_covers_science_placement_and_evaluation(plan_of: PlanOf) -> None:
    agreed = plan_of().contract_hash
    assert plan_of().contract_hash == agreed
    assert plan_of("learning_rate=1e-3").contract_hash != agreed
    assert plan_of("activation_checkpointing=blocks").contract_hash != agreed
    assert plan_of("evaluate.batch=64").contract_hash != agreed
    assert plan_of(num_ranks=16).contract_hash != agreed


def test_predictions_and_paths_are_no_part_of_the_contract(plan_of: PlanOf) -> None:
    agreed = plan_of().contract_hash
    assert plan_of(accelerator="a100_sxm_80gb").contract_hash == agreed
    assert plan_of("data.train=/somewhere", "data.validation=/somewhere/else").contract_hash == agreed


def test_the_totals_are_the_sums_of_the_points(plan_of: PlanOf) -> None:
    plan = plan_of()
    assert plan.train_flops == sum(planned.cost.train_flops for planned in plan.points)
    assert plan.device_hours == pytest.approx(sum(planned.cost.device_hours for planned in plan.points))
    assert plan_totals(plan)[0] == "4 runs"
    assert cost_summary(plan).startswith("4 runs, ")
    assert cost_summary(plan).endswith("device-hours on h100_sxm")


def test_device_hours_do_not_depend_on_the_number_of_devices(plan_of: PlanOf) -> None:
    assert plan_of(num_ranks=8).device_hours == pytest.approx(plan_of(num_ranks=512).device_hours)


def test_the_table_has_one_row_per_point_under_its_columns(plan_of: PlanOf) -> None:
    plan = plan_of()
    rows = plan_rows(plan)
    assert len(rows) == 4
    assert {len(row) for row in [*rows, plan_totals(plan)]} == {len(plan_columns(plan))}
    assert rows[0][:3] == (plan.points[0].point.run_id, "31,250", "512M")


def test_axes_that_a_run_s_name_does_not_tell_have_a_column(plan_of: PlanOf) -> None:
    plan = plan_of("objective=superclass", "classification_loss=[softmax, bce]")
    assert plan_columns(plan)[:3] == ("run", "classification\nloss", "steps")
    assert {row[1] for row in plan_rows(plan)} == {"softmax", "bce"}


def test_a_plan_without_data_says_that_its_run_ids_are_provisional(plan_of: PlanOf) -> None:
    assert plan_of().is_provisional


def test_the_plan_tells_what_varies(plan_of: PlanOf) -> None:
    kinds = {row.field: row.kind for row in plan_of().varied}
    assert [field for field, kind in kinds.items() if kind == "axis"] == ["objective", "image_tower"]


def test_a_written_plan_reads_back(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of()
    write_plan(plan, tmp_path / "runs" / "paper" / "plan.json")
    assert Plan.model_validate_json((tmp_path / "runs" / "paper" / "plan.json").read_text()) == plan


def test_an_unknown_accelerator_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(ValueError, match="unknown accelerator 'h100sxm'. Did you mean 'h100_sxm'"):
        plan_of(accelerator="h100sxm")


@pytest.mark.parametrize(
    ("hours", "text"),
    [(22_612.3, "22,600"), (1_158, "1,160"), (99.96, "100"), (2.617, "2.62"), (0.01234, "0.0123")],
)
def test_hours_have_three_significant_digits(hours: float, text: str) -> None:
    assert format_hours(hours) == text
