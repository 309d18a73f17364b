"""The sealed holdout of a sweep: the runs that no law is fitted to until `scaling report --unseal` opens them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scaling.cost import model_flops
from scaling.points import RunPoint
from scaling.spec import Sweep, SweepError


def sealed_runs(sweep: Sweep, points: Sequence[RunPoint]) -> tuple[str, ...]:
    """Run ids of the holdout, in the order of the points; SweepError where a rule seals nothing, all, or cheap runs.

    A sealed run must cost more training FLOPs than the median run of its objective: what is kept aside is the
    extrapolation, not the easy middle.
    """
    sealed: set[str] = set()
    for index, rule in enumerate(sweep.holdout):
        found = [point for point in points if _matches(rule, point)]
        if not found:
            raise SweepError(f"{sweep.path}: holdout[{index}]: {_told(rule)} matches no point of this sweep.")
        _check_large(sweep, index, rule, found, points)
        sealed |= {point.run_id for point in found}
    return tuple(point.run_id for point in points if point.run_id in sealed)


def _matches(rule: Mapping[str, tuple[Any, ...]], point: RunPoint) -> bool:
    return all(getattr(point.science, key) in values for key, values in rule.items())


def _check_large(
    sweep: Sweep,
    index: int,
    rule: Mapping[str, tuple[Any, ...]],
    found: Sequence[RunPoint],
    points: Sequence[RunPoint],
) -> None:
    for point in found:
        of_objective = [other for other in points if other.science.objective == point.science.objective]
        median = statistics.median(model_flops(other.science) for other in of_objective)
        if model_flops(point.science) <= median:
            raise SweepError(
                f"{sweep.path}: holdout[{index}]: {_told(rule)} seals {point.run_id}, which costs no more than the "
                f"median run of {point.science.objective}: name the cells with the largest compute."
            )


def _told(rule: Mapping[str, tuple[Any, ...]]) -> str:
    return ", ".join(f"{key}: {list(values)}" for key, values in rule.items())
