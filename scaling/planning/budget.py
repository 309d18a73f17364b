"""What a budget buys of a sweep: the runs it affords, best first."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from scaling.confounds import FOLLOWS_DEFAULTS, what_varied_in_placement
from scaling.cost import num_steps
from scaling.planning.spending import share_after
from scaling.points import RunPoint
from scaling.trunks import sure_branches

RULE = (
    "whole comparisons, of runs that differ in the objective and what belongs to it, by what they still cost, the "
    "cheapest first; then single runs, the cheapest first"
)
"""So a budget buys as many comparisons as it can: a run without its counterpart compares nothing."""

Unit = Literal["device-hours", "usd"]
UNITS: tuple[Unit, ...] = ("device-hours", "usd")

_BUDGET = re.compile(r"\s*([-+]?[0-9][0-9_,]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z-]+)\s*")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Budget(_Frozen):
    """What may be spent."""

    amount: float
    unit: Unit


class Purchase(_Frozen):
    """What a budget affords; costs are in its unit."""

    rule: str = RULE
    budget: Budget
    run_ids: tuple[str, ...]  # best first
    costs: tuple[float, ...]  # of each
    done: tuple[str, ...] = ()  # run ids that are finished, and so paid for
    num_comparisons: int  # that are bought whole, or completed
    next_run_id: str | None  # the cheapest that it does not afford
    next_cost: float | None

    @property
    def spent(self) -> float:
        """Of the budget."""
        return sum(self.costs)


def parse_budget(text: str) -> Budget:
    """The budget in "500 device-hours" or "1000 usd"; ValueError for anything else or an amount not above 0."""
    match = _BUDGET.fullmatch(text)
    unit = next((unit for unit in UNITS if match and match[2].lower() == unit), None)
    if match is None or unit is None:
        raise ValueError(
            f'--budget {text!r}: write an amount and its unit, "500 device-hours" or "1000 usd".'
        )
    amount = float(match[1].replace(",", "").replace("_", ""))
    if not (math.isfinite(amount) and amount > 0):
        raise ValueError(f"--budget {text!r}: the amount must be a number above 0, and no larger than 1e308.")
    return Budget(amount=amount, unit=unit)


def buy(
    points: Sequence[RunPoint], costs: Mapping[str, float], budget: Budget, done: Collection[str] = ()
) -> Purchase:
    """The runs that a budget affords, by RULE; `costs`, by run id, are in its unit. ValueError if it buys nothing.

    Runs that are `done` cost nothing more and are not bought again; a comparison that lacks one run costs that run. A
    run that can branch from one that is done, or bought before it, costs what comes after the branch.
    """
    basket = _Basket(points, costs, budget.amount, done)
    pending = [point.run_id for point in points if point.run_id not in done]
    groups = [group for group in _comparisons(points) if len(group) > 1]
    num_comparisons = basket.fill(
        [left for group in groups if (left := [run for run in group if run in pending])]
    )
    basket.fill([[run] for run in pending if run not in basket.bought])
    bought = basket.bought
    following, next_cost = min(
        ((run, basket.prices([run])[0]) for run in pending if run not in bought),
        key=lambda priced: (priced[1], priced[0]),
        default=(None, None),
    )
    if not bought and following is not None:
        raise ValueError(
            f"--budget {budget.amount:g} {budget.unit} buys no run of this sweep: the cheapest, {following}, costs "
            f"{next_cost:.3g} {budget.unit}. Raise it, or shrink the sweep with --set samples_seen=..."
        )
    return Purchase(
        budget=budget,
        run_ids=tuple(bought),
        costs=tuple(bought.values()),
        done=tuple(point.run_id for point in points if point.run_id in done),
        num_comparisons=num_comparisons,
        next_run_id=following,
        next_cost=next_cost,
    )


class _Basket:
    """What is bought so far, in its order, and what more would cost."""

    def __init__(
        self, points: Sequence[RunPoint], costs: Mapping[str, float], amount: float, done: Collection[str]
    ) -> None:
        self.bought: dict[str, float] = {}  # run id -> what it cost
        self._costs = costs
        self._left = amount
        self._done = done
        self._steps = {
            point.run_id: num_steps(point.science.samples_seen, point.science.global_batch)
            for point in points
        }
        self._branches = {point.run_id: sure_branches(point, points) for point in points}

    def fill(self, groups: list[list[str]]) -> int:
        """Buy whole groups, the cheapest first, as long as one is affordable; the number of them."""
        left = list(groups)
        while left:
            price, group = min((sum(self.prices(group)), group) for group in left)
            if price > self._left:
                break
            left.remove(group)
            self.bought |= dict(zip(group, self.prices(group), strict=True))
            self._left -= price
        return len(groups) - len(left)

    def prices(self, group: Sequence[str]) -> list[float]:
        """What each run of a group costs, once those before it are there."""
        return [self._price(run, group[:index]) for index, run in enumerate(group)]

    def _price(self, run: str, besides: Sequence[str]) -> float:
        """The cost of what comes after the best of the branches that are done, bought, or bought besides."""
        there = (
            branch
            for branch in self._branches[run]
            if any(branch.run_id in owned for owned in (self._done, self.bought, besides))
        )
        return self._costs[run] * share_after(next(there, None), self._steps[run])


def _comparisons(points: Sequence[RunPoint]) -> list[list[str]]:
    """Run ids of points that differ in nothing but the objective and what belongs to it."""
    varied = what_varied_in_placement([(point.science, point.placement) for point in points])
    axes = [row.field for row in varied]  # what differs besides was chosen for each point, to fit its device
    groups: dict[str, list[str]] = {}
    for point in points:
        same = point.science.model_dump(mode="json", exclude={"objective", *FOLLOWS_DEFAULTS})
        placed = {field: getattr(point.placement, field) for field in axes}
        groups.setdefault(json.dumps([same, placed], sort_keys=True), []).append(point.run_id)
    return list(groups.values())
