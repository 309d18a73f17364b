"""What is spent on a run: all that it takes, or what is left of it where another run of its trunk has gone before."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from scaling.points import RunPoint
from scaling.predicting.storage import num_checkpoints_kept
from scaling.records import PlannedCost
from scaling.trunks import Branch


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """The part of a run's cost that no other run has spent."""

    steps: int
    train_flops: int  # model FLOPs
    hardware_flops: int
    device_hours: float
    data_bytes: int  # read from shards
    disk_bytes: int  # of checkpoints and weights


def spending(point: RunPoint, cost: PlannedCost, branch: Branch | None) -> Spending:
    """What is spent on a run that costs so much when it trains alone: its steps after the branch, if it has one.

    A run that branches writes no checkpoint before its branch; the one it begins with is the other run's.
    """
    before = 0 if branch is None else branch.steps
    alone, after = (num_checkpoints_kept(point.science, point.placement, step) for step in (0, before))
    hardware, data = cost.hardware_flops or 0, cost.data_bytes or 0
    return Spending(
        steps=cost.steps - before,
        train_flops=cost.train_flops - cost.train_flops * before // cost.steps,
        hardware_flops=hardware - hardware * before // cost.steps,
        device_hours=share_after(branch, cost.steps) * cost.device_hours,
        data_bytes=data - data * before // cost.steps,
        disk_bytes=(cost.disk_bytes or 0) - (alone - after) * (cost.checkpoint_bytes or 0),
    )


def share_after(branch: Branch | None, steps: int) -> float:
    """The share of a run's steps that it trains itself."""
    return 1.0 if branch is None else (steps - branch.steps) / steps


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedPoint(_Frozen):
    """One run and what it is expected to take."""

    point: RunPoint
    cost: PlannedCost  # of the whole run, as if it trained alone
    branch: Branch | None = None  # where it goes on from an earlier run of the plan

    @property
    def spent(self) -> Spending:
        """The part of the cost that comes after the branch."""
        return spending(self.point, self.cost, self.branch)


class Totals(_Frozen):
    """Sums over all points of what is spent on them."""

    steps: int
    train_flops: int  # model FLOPs
    hardware_flops: int
    device_hours: float
    uncalibrated_device_hours: float  # without what records of this sweep taught
    data_bytes: int  # read from shards
    disk_bytes: int  # of checkpoints and weights, when all points are done
    saved_train_flops: int = 0  # by runs that branch, beside what is spent
    saved_device_hours: float = 0.0  # likewise


def totals_of(points: Sequence[PlannedPoint]) -> Totals:
    """The sums over planned points; their branches are of each other."""
    spent = [(told.spent, told.cost) for told in points]
    return Totals(
        steps=sum(part.steps for part, _ in spent),
        train_flops=sum(part.train_flops for part, _ in spent),
        hardware_flops=sum(part.hardware_flops for part, _ in spent),
        device_hours=sum(part.device_hours for part, _ in spent),
        uncalibrated_device_hours=sum(
            part.device_hours * cost.calibration.get("utilisation", 1.0) for part, cost in spent
        ),
        data_bytes=sum(part.data_bytes for part, _ in spent),
        disk_bytes=sum(part.disk_bytes for part, _ in spent),
        saved_train_flops=sum(cost.train_flops - part.train_flops for part, cost in spent),
        saved_device_hours=sum(cost.device_hours - part.device_hours for part, cost in spent),
    )
