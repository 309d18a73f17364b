"""What a budget buys where runs share a trunk: prices are those of what is left to train."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trunk_points import points_of, varied

from scaling.cost import decay_step, num_steps
from scaling.planning.budget import Budget, buy
from scaling.points import RunPoint


@settings(deadline=None, max_examples=50)
@given(amount=st.floats(1, 4000), done=st.sets(st.integers(0, 7)), share=st.sampled_from([0.1, 0.2, 0.5]))
def test_no_price_assumes_a_run_that_is_neither_done_nor_bought_before(
    one: RunPoint, amount: float, done: set[int], share: float
) -> None:
    """Prices are those of training the named runs in their order, and together within the budget.

    A run hardly longer than another would be the cheapest of all, were the other one there.
    """
    points = [
        varied(one, samples_seen=100 * steps, decay_share=share, seed=seed)
        for seed in (0, 1)
        for steps in (100, 110, 400, 420)
    ]
    costs = {point.run_id: point.science.samples_seen / 100 for point in points}  # an hour for each step
    there = [points[index] for index in sorted(done)]
    try:
        purchase = buy(
            points, costs, Budget(amount=amount, unit="device-hours"), [run.run_id for run in there]
        )
    except ValueError:
        return
    named = {point.run_id: point for point in points}
    for run, price in zip(purchase.run_ids, purchase.costs, strict=True):
        first = max(
            (decay_step(other.science) for other in there if can_begin_with(named[run], other)), default=0
        )
        assert price == pytest.approx(costs[run] - first)
        there.append(named[run])
    assert purchase.spent <= amount + 1e-9


def can_begin_with(run: RunPoint, other: RunPoint) -> bool:
    return run.trunk == other.trunk and decay_step(other.science) <= decay_step(run.science)


def test_a_budget_buys_the_whole_trunk_that_it_could_not_buy_as_runs_that_train_alone(
    tmp_path: Path,
) -> None:
    """46 hours for 10 + 12 + 24, where 10 + 20 + 40 cost 70; the same with the shortest done: 36."""
    points = points_of(tmp_path)
    costs = {
        point.run_id: float(num_steps(point.science.samples_seen, point.science.global_batch))
        for point in points
    }
    short, *longer = costs
    purchase = buy(points, costs, Budget(amount=46, unit="device-hours"))
    assert purchase.run_ids == (short, *longer) and purchase.costs == pytest.approx((10, 12, 24))
    assert purchase.next_run_id is None
    left = buy(points, costs, Budget(amount=36, unit="device-hours"), [short])
    assert left.run_ids == tuple(longer) and left.costs == pytest.approx((12, 24))
    less = buy(points, costs, Budget(amount=22, unit="device-hours"))
    assert (less.next_run_id, less.next_cost) == (longer[-1], pytest.approx(24))
