"""Which runs a sweep file seals, and that they stay sealed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.plan import Plan, plan_sweep, write_plan
from scaling.planning.contract import plan_to_keep
from scaling.planning.holdout import sealed_runs
from scaling.planning.plan_notes import plan_notes
from scaling.points import resolve_points
from scaling.spec import SweepError, load_sweep

SWEEP = """
name: s
question: q
vary:
  objective: [superclass, clip]
  image_tower: [vit_s16, vit_b16, vit_l16]
  samples_seen: [128M, 512M]
"""

Planned = Callable[[str], Plan]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """The plan of the sweep with a holdout."""

    def plan(holdout: str) -> Plan:
        path = tmp_path / "s.yaml"
        path.write_text(SWEEP + holdout)
        sweep = load_sweep(path)
        points = resolve_points(sweep, num_ranks=8, require_data=False)
        return plan_sweep(points, "h100_sxm", holdout=sealed_runs(sweep, points))

    return plan


def test_a_rule_seals_every_point_that_matches_all_of_its_keys(planned: Planned) -> None:
    sealed = planned("holdout: [{image_tower: vit_l16, samples_seen: 512M}]\n").holdout
    assert [run_id.rpartition("-s0-")[0] for run_id in sealed] == [
        "superclass-vit_l16-512M",
        "clip-vit_l16-512M",
    ]


def test_a_plan_says_which_runs_are_sealed(planned: Planned) -> None:
    plan = planned("holdout: [{image_tower: vit_l16, samples_seen: 512M}]\n")
    (note,) = [note for note in plan_notes(plan) if "--unseal" in note]
    assert all(run_id in note for run_id in plan.holdout)
    assert "trunk" not in note


def test_sealed_runs_that_share_a_trunk_with_fitted_ones_are_told(planned: Planned) -> None:
    wsd = "fixed: {schedule: wsd}\n"
    part = planned(wsd + "holdout: [{image_tower: vit_l16, samples_seen: 512M}]\n")
    (note,) = [note for note in plan_notes(part) if "--unseal" in note]
    assert f"{len(part.holdout)} of them share a trunk" in note and "seal whole trunks" in note
    whole = planned(wsd + "holdout: [{image_tower: vit_l16}]\n")
    (note,) = [note for note in plan_notes(whole) if "--unseal" in note]
    assert "trunk" not in note


def test_without_the_key_nothing_is_sealed(planned: Planned) -> None:
    assert planned("").holdout == ()


@pytest.mark.parametrize(
    ("holdout", "told"),
    [
        ("holdout: [{image_tower: vit_s16}]", "vit_s16.*costs no more than the median"),
        ("holdout: [{image_tower: vit_h14}]", r"holdout\[0\].*matches no point"),
        ("holdout: [{image_towr: vit_l16}]", r"holdout\[0\]: unknown key 'image_towr'.*image_tower"),
        ("holdout: {image_tower: vit_l16}", "must be a list of mappings"),
    ],
)
def test_a_holdout_that_cannot_be_meant_is_refused(planned: Planned, holdout: str, told: str) -> None:
    with pytest.raises(SweepError, match=told):
        planned(holdout + "\n")


def test_a_launch_refuses_to_take_a_run_out_of_an_agreed_holdout(planned: Planned, tmp_path: Path) -> None:
    agreed = planned("holdout: [{image_tower: vit_l16}]\n").model_copy(update={"is_agreed": True})
    path = tmp_path / "plan.json"
    write_plan(agreed, path)
    fewer = planned("holdout: [{image_tower: vit_l16, samples_seen: 512M}]\n")
    with pytest.raises(SweepError, match="no longer in the holdout: 2 runs"):
        plan_to_keep(fewer, path, replan=False)
    assert plan_to_keep(fewer, path, replan=True).holdout == fewer.holdout
