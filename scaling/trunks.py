"""Runs that share a trunk.

With the schedule wsd nothing before the decay depends on samples_seen: runs that differ only in it, or in how they
decay, are one run until the first of them decays. Every longer one can branch there, from a checkpoint of a shorter
one, instead of training the same steps again.  No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from scaling.cost import decay_step

if TYPE_CHECKING:
    from scaling.points import RunPoint


class Branch(BaseModel):
    """Another run, and how many of its steps are also those of the run that branches from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    steps: int
    is_kept: bool  # whether the other run keeps a checkpoint of that step, at which it begins to decay


def possible_branches(point: RunPoint, points: Sequence[RunPoint]) -> tuple[Branch, ...]:
    """The other runs of the point's trunk, each with the steps before either decays; those that share most first."""
    if point.trunk is None:
        return ()
    own = decay_step(point.science)
    shared = [
        Branch(run_id=other.run_id, steps=min(own, decays), is_kept=decays <= own)
        for other in points
        if other.trunk == point.trunk and other.run_id != point.run_id
        for decays in [decay_step(other.science)]
    ]
    return tuple(sorted(shared, key=lambda branch: (-branch.steps, branch.run_id)))


def sure_branches(point: RunPoint, points: Sequence[RunPoint]) -> tuple[Branch, ...]:
    """Those of the possible branches that can be counted on: the others may have no checkpoint there."""
    return tuple(branch for branch in possible_branches(point, points) if branch.is_kept and branch.steps > 0)


def branches_in_order(points: Sequence[RunPoint]) -> Mapping[str, Branch]:
    """Where each run branches if they train in this order: of the earlier runs, from the one that shares most steps.

    A run that has no sure branch from an earlier one is left out.
    """
    found = {point.run_id: sure_branches(point, points[:index]) for index, point in enumerate(points)}
    return {run_id: branches[0] for run_id, branches in found.items() if branches}
