"""Which runs are one run until they decay, and where they may branch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.cost import decay_step
from scaling.points import RunPoint, resolve_points
from scaling.spec import SweepError, load_sweep
from scaling.trunks import Branch, branches_in_order, possible_branches

SWEEP = """
name: trunks
question: does it branch?
vary:
  samples_seen: [10K, 20K, 40K]
fixed: {objective: clip, image_tower: vit_nano8, image_size: 32, global_batch: 1000, warmup_samples: 2K, schedule: wsd}
"""

Resolve = Callable[..., list[RunPoint]]


@pytest.fixture
def resolve(tmp_path: Path) -> Resolve:
    def from_text(*overrides: str, text: str = SWEEP) -> list[RunPoint]:
        path = tmp_path / "trunks.yaml"
        path.write_text(text)
        return resolve_points(load_sweep(path, overrides), num_ranks=2, require_data=False)

    return from_text


def test_each_longer_run_branches_where_the_one_before_it_decays(resolve: Resolve) -> None:
    short, middle, long = points = resolve("decay_share=0.2")
    assert [decay_step(point.science) for point in points] == [8, 16, 32]
    assert branches_in_order(points) == {
        middle.run_id: Branch(run_id=short.run_id, steps=8, is_kept=True),
        long.run_id: Branch(run_id=middle.run_id, steps=16, is_kept=True),
    }
    assert possible_branches(short, [short, long]) == (Branch(run_id=long.run_id, steps=8, is_kept=False),)
    assert (
        branches_in_order([long, short]) == {}
    ), "the longer one may have no checkpoint where the shorter decays"
    assert [branch.steps for branch in possible_branches(long, points)] == [16, 8]


def test_a_run_decays_for_at_least_one_step_and_only_under_wsd(resolve: Resolve) -> None:
    assert [decay_step(point.science) for point in resolve("decay_share=1e-6")] == [9, 19, 39]
    cosine = resolve("schedule=cosine")
    assert [decay_step(point.science) for point in cosine] == [10, 20, 40]
    assert {point.trunk for point in cosine} == {None} and branches_in_order(cosine) == {}


def test_runs_share_a_trunk_if_they_differ_in_nothing_but_how_long_and_how_they_end(resolve: Resolve) -> None:
    (trunk,) = {point.trunk for point in resolve()}
    assert {point.trunk for point in resolve("decay_share=0.5", "decay_shape=linear")} == {trunk}
    for change in (
        "seeds=[1]",
        "objective=superclass",
        "learning_rate=1e-3",
        "warmup_samples=1K",
        "patch_dropout=0.5",
    ):
        assert trunk not in {point.trunk for point in resolve(change)}, change


def test_runs_of_two_engines_share_no_trunk_where_a_sweep_compares_engines(resolve: Resolve) -> None:
    text = SWEEP.replace("vary:\n", "vary:\n  engine: [deepspeed, fsdp]\n")
    points = resolve(text=text)
    assert len({point.trunk for point in points}) == 2
    for point in points:
        others = {branch.run_id for branch in possible_branches(point, points)}
        assert others == {
            other.run_id
            for other in points
            if other.placement.engine == point.placement.engine and other.run_id != point.run_id
        }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "decay_share=0.9",
            r"decay_share \(0.9\) of samples_seen \(10,000\) begins before warmup_samples \(2,000\)",
        ),
        ("decay_share=0", "decay_share: 0.* must be above 0"),
        ("decay_shape=cubic", "decay_shape"),
        ("schedule=linear", "schedule"),
    ],
)
def test_a_decay_that_cannot_be_is_refused(resolve: Resolve, change: str, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        resolve(change)


def test_how_to_decay_is_refused_where_nothing_decays_late(resolve: Resolve) -> None:
    with pytest.raises(SweepError, match="decay_share has no effect|decay_share: 0.1 .* no effect"):
        resolve("schedule=cosine", "decay_share=0.1")
