"""A launch keeps to the plan that was agreed to: what a sweep learns may not change unseen, where it runs may."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.plan import Plan, plan_sweep, write_plan
from scaling.planning.contract import differences, plan_to_keep
from scaling.points import resolve_points
from scaling.spec import SweepError, load_sweep

SWEEP = """
name: s
question: q
vary:
  objective: [superclass, clip]
  image_tower: [vit_s16, vit_b16]
fixed: {samples_seen: 512M}
"""

PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    (tmp_path / "s.yaml").write_text(SWEEP)

    def planned(*overrides: str, num_ranks: int = 8, accelerator: str = "h100_sxm") -> Plan:
        points = resolve_points(
            load_sweep(tmp_path / "s.yaml", overrides), num_ranks=num_ranks, require_data=False
        )
        return plan_sweep(points, accelerator)

    return planned


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "s" / "plan.json"


def agree(plan: Plan, path: Path) -> Plan:
    """Leave plan.json as `scaling plan` does."""
    agreed = plan.model_copy(update={"is_agreed": True})
    write_plan(agreed, path)
    return agreed


def shards(folder: Path, size: int) -> str:
    """An override that names a training set with an index."""
    folder.mkdir()
    (folder / "shard.mds").touch()
    shard = {
        "raw_data": {"basename": "shard.mds", "bytes": size, "hashes": {}},
        "zip_data": None,
        "samples": 9,
    }
    (folder / "index.json").write_text(json.dumps({"shards": [shard], "version": 2}))
    return f"data.train={folder}"


def test_a_changed_field_is_refused_with_its_values_and_runs(plan_of: PlanOf, path: Path) -> None:
    agree(plan_of(), path)
    with pytest.raises(SweepError) as caught:
        plan_to_keep(plan_of("learning_rate=1e-3"), path, replan=False)
    for words in (str(path), "learning_rate 0.0005 -> 0.001: 4 runs, ", "scaling plan", "--replan"):
        assert words in str(caught.value)


def test_added_and_removed_runs_are_named(plan_of: PlanOf) -> None:
    small, large = plan_of("image_tower=[vit_s16]"), plan_of()
    names = {"vit_b16": [p.point.run_id for p in large.points if p.point.science.image_tower == "vit_b16"]}
    assert differences(small, large) == [f"added: 2 runs, {', '.join(names['vit_b16'])}"]
    assert differences(large, small) == [f"removed: 2 runs, {', '.join(names['vit_b16'])}"]


def test_a_changed_evaluation_is_a_change_of_the_same_runs(plan_of: PlanOf) -> None:
    (found,) = differences(plan_of(), plan_of("evaluate.batch=64"))
    assert found.startswith("evaluate.batch 256 -> 64: 4 runs, ")


@pytest.mark.parametrize("change", ["activation_checkpointing=blocks", "micro_batch=64", "zero_stage=2"])
def test_placement_may_change(plan_of: PlanOf, path: Path, change: str) -> None:
    agree(plan_of(), path)
    assert plan_to_keep(plan_of(change, num_ranks=16), path, replan=False).num_devices == 16


def test_an_unchanged_sweep_keeps_the_plan_as_it_was_written(plan_of: PlanOf, path: Path) -> None:
    priced = agree(plan_of().model_copy(update={"usd_per_hour": 2.5}), path)
    assert plan_to_keep(plan_of(), path, replan=False) == priced
    elsewhere = plan_to_keep(plan_of(num_ranks=16, accelerator="b200"), path, replan=False)
    assert elsewhere.is_agreed and elsewhere.usd_per_hour == 2.5 and elsewhere.accelerator == "b200"


def test_a_plan_that_only_a_launch_wrote_binds_nobody(plan_of: PlanOf, path: Path) -> None:
    changed = plan_of("learning_rate=1e-3")
    assert plan_to_keep(changed, path, replan=False) is changed  # no plan at all
    write_plan(plan_of(), path)
    assert plan_to_keep(changed, path, replan=False) is changed
    path.write_text('{"plan_version": 0}')
    assert plan_to_keep(changed, path, replan=False) is changed


def test_replan_agrees_to_the_sweep_as_it_is_now(plan_of: PlanOf, path: Path) -> None:
    agree(plan_of(), path)
    kept = plan_to_keep(plan_of("learning_rate=1e-3"), path, replan=True)
    assert kept.is_agreed
    write_plan(kept, path)
    assert plan_to_keep(plan_of("learning_rate=1e-3"), path, replan=False) == kept
    with pytest.raises(SweepError, match="learning_rate 0.001 -> 0.0005"):
        plan_to_keep(plan_of(), path, replan=False)


def test_data_that_the_plan_could_not_know_are_no_change_and_other_data_are(
    plan_of: PlanOf, path: Path, tmp_path: Path
) -> None:
    first, other = shards(tmp_path / "first", 100), shards(tmp_path / "other", 200)
    agree(plan_of(), path)
    known = plan_to_keep(plan_of(first), path, replan=False)
    assert not known.is_provisional and known.is_agreed
    write_plan(known, path)
    with pytest.raises(SweepError, match="data_digest [0-9a-f]{16} -> [0-9a-f]{16}: 4 runs"):
        plan_to_keep(plan_of(other), path, replan=False)


def test_runs_that_a_sweep_compares_by_their_placement_are_told_apart(plan_of: PlanOf) -> None:
    both = plan_of("engine=[deepspeed, fsdp]", "image_tower=vit_s16")
    assert differences(both, plan_of("engine=[deepspeed, fsdp]", "image_tower=vit_s16", num_ranks=2)) == []
    (found,) = differences(both, plan_of("engine=[deepspeed]", "image_tower=vit_s16"))
    assert found.startswith("removed: 2 runs, ")
