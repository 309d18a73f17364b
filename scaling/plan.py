"""The plan of a sweep: every point with its expected cost, under a hash of what was agreed to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from scaling.confounds import VariedField, what_varied, what_varied_in_placement
from scaling.hardware import ACCELERATORS, Accelerator, accelerator
from scaling.planning.budget import Budget, Purchase, buy
from scaling.planning.schedule import Schedule, list_schedule
from scaling.planning.spending import PlannedPoint, Totals, share_after, totals_of
from scaling.points import RunPoint
from scaling.predicting.calibration import NO_CALIBRATION, Calibration
from scaling.predicting.feasibility import usable_bytes
from scaling.predicting.prediction import planned_cost
from scaling.predicting.storage import ASSUMED_SAMPLE_BYTES
from scaling.records import PlannedCost, write_atomically
from scaling.sweep.science import Science
from scaling.trunks import Branch, branches_in_order
from scaling.units import format_flops

PLAN_VERSION = 1
LATER_FIELDS = ("decay_share", "decay_shape")
"""Science fields that came after sweeps had been agreed to: at their defaults they are left out of the contract's hash,
as they are of the run ids."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(_Frozen):
    """A sweep, planned for a number of devices of one kind."""

    plan_version: int = PLAN_VERSION
    sweep: str
    question: str
    sweep_file: str | None = None  # as it was given; None: of no file
    settings: tuple[str, ...] = ()  # "key=value" overrides that were laid over it
    accelerator: str
    num_devices: int
    points: tuple[PlannedPoint, ...]  # cheapest first
    holdout: tuple[str, ...] = ()  # run ids that no law is fitted to until they are opened
    varied: tuple[VariedField, ...]  # the "what varied" table
    contract_hash: str  # over science, placement and evaluation; predictions do not enter
    totals: Totals
    usable_memory_bytes: int  # of one device, with the margin of scaling/predicting/feasibility.py left free
    calibration: Calibration = NO_CALIBRATION
    usd_per_hour: float | None = None  # of one device
    done: tuple[str, ...] = ()  # run ids that were finished when the plan was made
    schedule: Schedule | None = None
    purchase: Purchase | None = None
    is_agreed: bool = False  # written by `scaling plan`, so that launching another sweep under it is refused

    @property
    def is_provisional(self) -> bool:
        """Whether run ids and hash will change once the training set is there."""
        return any(planned.point.is_provisional for planned in self.points)

    @property
    def usd(self) -> float | None:
        """Price of all points; None without a price."""
        return None if self.usd_per_hour is None else self.totals.device_hours * self.usd_per_hour

    def hours(self) -> dict[str, float]:
        """Wall hours on the plan's devices of each run that is not done, in the plan's order."""
        branches = self.branches_left()
        pending = [told for told in self.points if told.point.run_id not in self.done]
        return {
            told.point.run_id: share_after(branches.get(told.point.run_id), told.cost.steps)
            * told.cost.device_hours
            / self.num_devices
            for told in pending
        }

    def branches_left(self) -> Mapping[str, Branch]:
        """Where each run branches that is not done, by run id: all that are done have gone before."""
        points = [told.point for told in self.points]
        points.sort(key=lambda point: point.run_id not in self.done)
        branches = branches_in_order(points)
        return {run_id: branch for run_id, branch in branches.items() if run_id not in self.done}


def plan_sweep(
    points: Sequence[RunPoint],
    accelerator_name: str,
    *,
    question: str = "",
    holdout: tuple[str, ...] = (),
    sweep_file: str | None = None,
    settings: tuple[str, ...] = (),
    calibration: Calibration = NO_CALIBRATION,
    accelerators: Mapping[str, Accelerator] = ACCELERATORS,
) -> Plan:
    """The plan of resolved points on a named accelerator; the devices are the points' ranks."""
    device = accelerator(accelerator_name, accelerators)
    assert points and len({(point.sweep, point.placement.num_ranks) for point in points}) == 1
    branches = branches_in_order(points)
    planned = tuple(
        PlannedPoint(point=point, cost=_cost(point, device, calibration), branch=branches.get(point.run_id))
        for point in points
    )
    return Plan(
        sweep=points[0].sweep,
        question=question,
        sweep_file=sweep_file,
        settings=settings,
        accelerator=device.name,
        num_devices=points[0].placement.num_ranks,
        points=planned,
        holdout=holdout,
        varied=(
            *what_varied([point.science for point in points]),
            *what_varied_in_placement([(point.science, point.placement) for point in points]),
        ),
        contract_hash=_contract_hash(points),
        totals=totals_of(planned),
        usable_memory_bytes=int(usable_bytes(device)),
        calibration=calibration,
        usd_per_hour=device.usd_per_hour,
    )


def _cost(point: RunPoint, device: Accelerator, calibration: Calibration) -> PlannedCost:
    return planned_cost(
        point.science,
        point.placement,
        device,
        sample_bytes=point.data.sample_bytes or ASSUMED_SAMPLE_BYTES,
        calibration=calibration,
    )


def _contract_hash(points: Sequence[RunPoint]) -> str:
    agreed = [
        point.model_dump(mode="json", include={"science", "placement", "evaluation"}) for point in points
    ]
    for told in agreed:
        for name in LATER_FIELDS:
            if told["science"][name] == Science.model_fields[name].default:
                del told["science"][name]
    return hashlib.sha256(json.dumps(agreed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def with_schedule(plan: Plan, num_jobs: int) -> Plan:
    """The plan with the runs that are not done spread over jobs that train at once, each on all the plan's devices."""
    waits_for = {run_id: branch.run_id for run_id, branch in plan.branches_left().items()}
    return plan.model_copy(update={"schedule": list_schedule(plan.hours(), num_jobs, waits_for)})


def with_purchase(plan: Plan, budget: Budget) -> Plan:
    """The plan with the runs that a budget affords; ValueError if it affords none, or is money without a price."""
    factor = 1.0 if budget.unit == "device-hours" else plan.usd_per_hour
    if factor is None:
        raise ValueError(
            f"--budget {budget.amount:g} usd needs a price: give --price, US dollars of one device for an hour, or "
            "a budget in device-hours."
        )
    costs = {told.point.run_id: told.cost.device_hours * factor for told in plan.points}
    points = [told.point for told in plan.points]
    return plan.model_copy(update={"purchase": buy(points, costs, budget, plan.done)})


def write_plan(plan: Plan, path: Path) -> None:
    """Write plan.json, whole or not at all; runs that were trained under seal stay in its holdout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, with_kept_holdout(plan, path).model_dump_json(indent=1))


def with_kept_holdout(plan: Plan, path: Path) -> Plan:
    """The plan with the runs that the plan at `path` sealed and that have started, whatever the sweep file says now.

    Planning again opens no seal: only `scaling report --unseal` does, on record.
    """
    if not path.exists():
        return plan
    try:
        before = json.loads(path.read_text(encoding="utf-8")).get("holdout", ())
    except ValueError:  # no plan: it seals nothing, and writing again repairs it
        return plan
    kept = [run_id for run_id in before if run_id not in plan.holdout and (path.parent / run_id).is_dir()]
    return plan.model_copy(update={"holdout": (*plan.holdout, *kept)}) if kept else plan


def cost_summary(plan: Plan) -> str:
    """The cost line for a sweep file's header: runs, training FLOPs, device-hours, accelerator."""
    flops, hours = format_flops(plan.totals.train_flops), format_hours(plan.totals.device_hours)
    return f"{len(plan.points)} runs, {flops} training FLOPs, {hours} device-hours on {plan.accelerator}"


def format_hours(hours: float) -> str:
    """Hours with three significant digits: 22612.3 -> "22,600", 0.01234 -> "0.0123"."""
    rounded = float(f"{hours:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.3g}"


def read_plan_points(path: Path) -> list[str]:
    """The run ids of a written plan, in their order; none if it does not exist."""
    if not path.exists():
        return []
    plan = json.loads(path.read_text(encoding="utf-8"))
    return [planned["point"]["run_id"] for planned in plan["points"]]
