"""What a budget buys: whole comparisons first, and never more than it affords."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from scaling.planning.budget import Budget, buy, parse_budget
from scaling.points import RunPoint, resolve_points
from scaling.spec import load_sweep

PAPER = """
name: paper
question: q
vary:
  objective: [superclass, clip]
  image_tower: [vit_s16, vit_b16, vit_l16]
also: [{objective: superclass, image_tower: vit_h14}]
fixed: {samples_seen: 512M}
"""


@pytest.fixture
def points(tmp_path: Path) -> list[RunPoint]:
    (tmp_path / "paper.yaml").write_text(PAPER)
    return resolve_points(load_sweep(tmp_path / "paper.yaml"), num_ranks=8, require_data=False)


@pytest.fixture
def costs(points: list[RunPoint]) -> dict[str, float]:
    """Hours: 1, 2, 4, ... from the cheapest."""
    return {point.run_id: 2.0**index for index, point in enumerate(points)}


def hours(amount: float) -> Budget:
    return Budget(amount=amount, unit="device-hours")


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("500 device-hours", hours(500)),
        ("1,500.5device-hours", hours(1500.5)),
        ("1e3 usd", Budget(amount=1000, unit="usd")),
        ("1000 USD", Budget(amount=1000, unit="usd")),
    ],
)
def test_a_budget_is_an_amount_and_a_unit(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text", ["", "500", "500 hours", "many usd", "-5 usd", "0 device-hours", "1e999 usd"]
)
def test_any_other_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--budget"):
        parse_budget(text)


def test_comparisons_are_bought_whole_before_single_runs(
    points: list[RunPoint], costs: dict[str, float]
) -> None:
    purchase = buy(points, costs, hours(16))
    towers = {point.run_id: point.science.image_tower for point in points}
    bought = [towers[run] for run in purchase.run_ids]
    assert purchase.num_comparisons == 2 and bought[:4] == ["vit_s16", "vit_s16", "vit_b16", "vit_b16"]
    assert purchase.spent == 15 and len(bought) == 4
    assert purchase.next_run_id is not None and purchase.next_cost == costs[purchase.next_run_id] == 16


def test_what_is_left_buys_single_runs(points: list[RunPoint], costs: dict[str, float]) -> None:
    purchase = buy(points, costs, hours(15 + 16))
    assert (purchase.num_comparisons, len(purchase.run_ids), purchase.spent) == (2, 5, 31)


def test_no_choice_of_whole_comparisons_is_larger(points: list[RunPoint], costs: dict[str, float]) -> None:
    pairs = [3.0, 12.0, 48.0]  # the comparisons' costs: 1 + 2, 4 + 8, 16 + 32
    for amount in range(1, 140):
        best = max(n for n in range(4) for some in itertools.combinations(pairs, n) if sum(some) <= amount)
        purchase = buy(points, costs, hours(amount))
        assert purchase.num_comparisons == best and purchase.spent <= amount


def test_a_budget_for_everything_leaves_nothing_to_buy(
    points: list[RunPoint], costs: dict[str, float]
) -> None:
    purchase = buy(points, costs, hours(1e6))
    assert set(purchase.run_ids) == costs.keys()
    assert purchase.next_run_id is None and purchase.next_cost is None


def test_a_budget_that_buys_nothing_names_the_cheapest_run(
    points: list[RunPoint], costs: dict[str, float]
) -> None:
    with pytest.raises(
        ValueError, match="buys no run of this sweep: the cheapest, .*vit_s16.*, costs 1 device-hours"
    ):
        buy(points, costs, hours(0.5))


def test_a_run_that_is_done_costs_nothing_more_and_completes_its_comparison(
    points: list[RunPoint], costs: dict[str, float]
) -> None:
    cheap, dear = [point.run_id for point in points[:2]]  # of one tower: 1 and 2 hours
    purchase = buy(points, costs, hours(2), done=[dear])
    assert purchase.done == (dear,) and purchase.run_ids == (cheap,)
    assert purchase.spent == costs[cheap] and purchase.num_comparisons == 1
    assert purchase.next_run_id not in (cheap, dear)


def test_what_is_done_leaves_the_budget_for_other_runs(
    points: list[RunPoint], costs: dict[str, float]
) -> None:
    done = [point.run_id for point in points[:4]]
    assert set(buy(points, costs, hours(15)).run_ids) == set(done)
    with pytest.raises(ValueError, match="buys no run of this sweep: the cheapest"):
        buy(points, costs, hours(15), done=done)
    left = buy(points, costs, hours(48), done=done)
    assert not set(left.run_ids) & set(done) and left.spent == 48 and left.num_comparisons == 1


def test_a_budget_for_a_sweep_that_is_done_buys_nothing_and_is_no_error(
    points: list[RunPoint], costs: dict[str, float]
) -> None:
    purchase = buy(points, costs, hours(1), done=list(costs))
    assert (purchase.run_ids, purchase.spent, purchase.next_run_id) == ((), 0, None)
    assert set(purchase.done) == costs.keys()


def test_runs_are_compared_whatever_placement_was_chosen_for_each(
    points: list[RunPoint], costs: dict[str, float]
) -> None:
    """A device may hold one of two rivals only with another ZeRO stage or with recomputation."""
    chosen = {"zero_stage": 2, "activation_checkpointing": "blocks", "micro_batch": 1}
    placed = [
        (
            point.model_copy(update={"placement": point.placement.model_copy(update=chosen)})
            if point.science.objective == "clip"
            else point
        )
        for point in points
    ]
    assert (
        buy(placed, costs, hours(1e9)).num_comparisons == buy(points, costs, hours(1e9)).num_comparisons == 3
    )
