"""What is spent on runs that share a trunk, and what the plan says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from printed_plan import printed
from trunk_points import points_of, varied

from scaling.cost import decay_step, num_steps
from scaling.plan import Plan, plan_sweep, with_purchase, with_schedule, write_plan
from scaling.planning.budget import Budget
from scaling.planning.plan_notes import plan_notes
from scaling.planning.plan_table import taken_row, totals_row
from scaling.points import RunPoint
from scaling.trunks import branches_in_order, sure_branches

PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    def planned(*overrides: str, num_ranks: int = 1) -> Plan:
        return plan_sweep(points_of(tmp_path, *overrides, num_ranks=num_ranks), "h100_sxm")

    return planned


def runs_of(plan: Plan) -> list[str]:
    return [told.point.run_id for told in plan.points]


def test_each_run_branches_where_the_next_shorter_one_decays(plan_of: PlanOf) -> None:
    """Of 10, 20 and 40 steps the last 2, 4 and 8 decay: 8 are shared, then 16."""
    plan = plan_of()
    short, middle, long = runs_of(plan)
    told = [None if told.branch is None else (told.branch.run_id, told.branch.steps) for told in plan.points]
    assert told == [None, (short, 8), (middle, 16)] and long
    assert [told.spent.steps for told in plan.points] == [10, 12, 24]
    assert [told.cost.steps for told in plan.points] == [
        10,
        20,
        40,
    ], "a law's compute is that of the whole run"


def test_what_is_spent_is_the_cost_of_the_steps_after_the_branch(plan_of: PlanOf) -> None:
    plan = plan_of()
    per_step = plan.points[0].cost.train_flops // 10
    assert plan.totals.train_flops == 46 * per_step and plan.totals.saved_train_flops == 24 * per_step
    assert plan.totals.steps == 46
    hours = plan.points[0].cost.device_hours / 10
    assert plan.totals.device_hours == pytest.approx(46 * hours)
    assert plan.totals.uncalibrated_device_hours == pytest.approx(46 * hours)
    assert plan.totals.saved_device_hours == pytest.approx(24 * hours)
    assert plan.totals.hardware_flops == 46 * (plan.points[0].cost.hardware_flops or 0) // 10
    assert plan.totals.data_bytes == 46 * (plan.points[0].cost.data_bytes or 0) // 10
    assert sum(plan.hours().values()) == pytest.approx(46 * hours)


def test_a_run_that_branches_writes_no_checkpoint_before_its_branch(plan_of: PlanOf) -> None:
    """One at every step, all kept: 10 of the first; of the second the steps 9 to 20, of the third 17 to 40."""
    plan = plan_of("checkpoint_every_samples=100", "keep_checkpoints=1000")
    one, weights = plan.points[0].cost.checkpoint_bytes or 0, 4 * sum(plan.points[0].cost.parameters.values())
    kept = [(told.spent.disk_bytes - weights) / one for told in plan.points]
    assert kept == [10, 12, 24]
    assert plan.totals.disk_bytes == 46 * one + 3 * weights


def test_runs_of_a_cosine_or_of_other_trunks_share_nothing(plan_of: PlanOf) -> None:
    for changed in ("schedule=cosine", "learning_rate=[1e-3, 2e-3, 4e-3]"):
        alone = ["samples_seen=1000"] if "learning_rate" in changed else []
        plan = plan_of(changed, *alone)
        assert len(plan.points) == 3 and not any(told.branch for told in plan.points)
        assert plan.totals.saved_train_flops == 0 and plan.totals.saved_device_hours == 0.0
        assert "trunk" not in " ".join(plan_notes(plan)) and "+" not in "".join(totals_row(plan))
        assert plan.totals.train_flops == sum(told.cost.train_flops for told in plan.points)


def test_the_plan_says_what_the_trunks_save_and_marks_the_runs_that_branch(plan_of: PlanOf) -> None:
    plan = with_schedule(plan_of(), 1)
    (note,) = [note for note in plan_notes(plan) if note.startswith("Shared trunks")]
    assert "2 of 3 runs" in note and "34% of the FLOPs" in note and "not independent" in note  # 24 of 70
    marked = [taken_row(told, plan)[3].startswith("+") for told in plan.points]
    assert marked == [False, True, True]


def test_the_marks_fit_into_100_columns(plan_of: PlanOf) -> None:
    plan = plan_of("image_tower=[vit_h14]", "image_size=224", "samples_seen=[6.4B,12.8B]", "seed=[10]",
                   "objective=superclass", "global_batch=16384", num_ranks=64)  # fmt: skip
    priced = plan.model_copy(update={"usd_per_hour": 99.5})
    text = printed(priced)
    assert "…" not in text and max(map(len, text.splitlines())) <= 100
    (row,) = [line.split() for line in text.splitlines() if "12.8B" in line and "+" in line]
    assert tuple(row) == (
        *taken_row(plan.points[1], priced)[:5],
        "109",
        "!",
        "270",
        "27.8",
        "549,000",
    ), "none wraps"


def test_a_plan_of_before_there_were_trunks_reads_back(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = with_schedule(plan_of("schedule=cosine"), 2)
    write_plan(plan, tmp_path / "plan.json")
    told = json.loads((tmp_path / "plan.json").read_text())
    for planned in told["points"]:
        del planned["branch"], planned["point"]["trunk"]
        del planned["point"]["science"]["decay_share"], planned["point"]["science"]["decay_shape"]
    for name in ("saved_train_flops", "saved_device_hours"):
        del told["totals"][name]
    del told["schedule"]["critical_run_ids"]
    for job in told["schedule"]["jobs"]:
        del job["starts"]
    old = Plan.model_validate(told)
    assert (old.points, old.totals, old.contract_hash) == (plan.points, plan.totals, plan.contract_hash)
    assert old.schedule is not None and plan.schedule is not None
    assert old.schedule.critical_path == plan.schedule.critical_path


def test_a_plan_of_trunks_reads_back_with_what_they_save(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = with_purchase(with_schedule(plan_of(), 2), Budget(amount=100, unit="device-hours"))
    write_plan(plan, tmp_path / "plan.json")
    assert Plan.model_validate_json((tmp_path / "plan.json").read_text()) == plan
    told = json.loads((tmp_path / "plan.json").read_text())
    assert told["totals"]["saved_train_flops"] > 0 and told["points"][1]["branch"]["steps"] == 8


def test_a_run_that_is_done_is_branched_from_whatever_its_place(plan_of: PlanOf) -> None:
    """The middle one is done: the short one, which decays before it, trains all its steps; the long one its 24."""
    plan = plan_of()
    short, middle, long = runs_of(plan)
    plan = plan.model_copy(update={"done": (middle,)})
    per_step = plan.points[0].cost.device_hours / 10
    assert plan.hours() == pytest.approx({short: 10 * per_step, long: 24 * per_step})
    scheduled = with_schedule(plan, 2).schedule
    assert scheduled is not None and scheduled.hours == pytest.approx(24 * per_step), "neither waits"
    earlier_decay = plan_of("samples_seen=[1000,2000]", "decay_share=[0.2,0.8]")
    late, early = (
        next(
            told.point.run_id
            for told in earlier_decay.points
            if (told.point.science.samples_seen, told.point.science.decay_share) == wanted
        )
        for wanted in ((1000, 0.2), (2000, 0.8))
    )
    found = earlier_decay.model_copy(update={"done": (early,)}).branches_left()[late]
    assert (found.run_id, found.steps) == (early, 4)


def test_a_run_promises_no_branch_where_the_other_keeps_no_checkpoint(one: RunPoint) -> None:
    """One decays after 9 of 10 steps, the other after 8: only the first can begin with a checkpoint of the other."""
    late, early = varied(one, decay_share=0.1), varied(one, decay_share=0.2)
    assert [branch.steps for branch in sure_branches(late, [early, late])] == [8]
    assert sure_branches(early, [early, late]) == ()
    assert branches_in_order([late, early]) == {}
    at_once = [varied(one, decay_share=1.0, decay_shape=shape) for shape in ("linear", "one_minus_sqrt")]
    assert branches_in_order(at_once) == {}, "they share no step"


@settings(deadline=None, max_examples=50)
@given(
    trunks=st.lists(st.sets(st.integers(1, 60), min_size=1, max_size=6), min_size=1, max_size=4),
    share=st.sampled_from([0.1, 0.2, 0.25, 0.5]),
)
def test_in_all_each_trunk_is_trained_once_and_every_decay(
    one: RunPoint, trunks: Sequence[set[int]], share: float
) -> None:
    """Ordered by length: the longest stable part of each trunk, and the decays of its runs."""
    points = [
        varied(one, samples_seen=700 * length, decay_share=share, seed=seed)
        for seed, lengths in enumerate(trunks)
        for length in sorted(lengths)
    ]
    branches = branches_in_order(points)
    total, decays = 0, 0
    longest = dict.fromkeys(range(len(trunks)), 0)
    for point in points:
        steps = num_steps(point.science.samples_seen, point.science.global_batch)
        total += steps - (branches[point.run_id].steps if point.run_id in branches else 0)
        decays += steps - decay_step(point.science)
        longest[point.science.seed] = max(longest[point.science.seed], decay_step(point.science))
    assert total == sum(longest.values()) + decays
