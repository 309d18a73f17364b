"""What a budget buys of a sweep: the runs it affords, best first."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from scaling.confounds import FOLLOWS_DEFAULTS
from scaling.points import RunPoint

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

    Runs that are `done` cost nothing more and are not bought again; a comparison that lacks one run costs that run.
    """
    costs = {run_id: cost for run_id, cost in costs.items() if run_id not in done}
    groups = [group for group in _comparisons(points) if len(group) > 1]
    comparisons = [pending for group in groups if (pending := [run for run in group if run in costs])]
    bought: list[str] = []
    left = budget.amount
    num_comparisons = 0
    for group in sorted(comparisons, key=lambda runs: (sum(costs[run] for run in runs), runs)):
        price = sum(costs[run] for run in group)
        if price <= left:
            bought += group
            left -= price
            num_comparisons += 1
    for run in sorted(costs.keys() - set(bought), key=lambda name: (costs[name], name)):
        if costs[run] <= left:
            bought.append(run)
            left -= costs[run]
    following = min(costs.keys() - set(bought), key=lambda name: (costs[name], name), default=None)
    if not bought and following is not None:
        raise ValueError(
            f"--budget {budget.amount:g} {budget.unit} buys no run of this sweep: the cheapest, {following}, costs "
            f"{costs[following]:.3g} {budget.unit}. Raise it, or shrink the sweep with --set samples_seen=..."
        )
    return Purchase(
        budget=budget,
        run_ids=tuple(bought),
        costs=tuple(costs[run] for run in bought),
        done=tuple(point.run_id for point in points if point.run_id in done),
        num_comparisons=num_comparisons,
        next_run_id=following,
        next_cost=None if following is None else costs[following],
    )


def _comparisons(points: Sequence[RunPoint]) -> list[list[str]]:
    """Run ids of points that differ in nothing but the objective and what belongs to it."""
    groups: dict[str, list[str]] = {}
    for point in points:
        same = point.science.model_dump(mode="json", exclude={"objective", *FOLLOWS_DEFAULTS})
        placed = point.placement.model_dump(mode="json", exclude={"micro_batch"})
        groups.setdefault(json.dumps([same, placed], sort_keys=True), []).append(point.run_id)
    return list(groups.values())
