"""The plan that a user asks for: of a sweep file, on so many devices, at a price, within a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from scaling.cost import check_price
from scaling.hardware import ACCELERATORS, Accelerator, accelerator
from scaling.plan import Plan, plan_sweep, with_purchase, with_schedule
from scaling.planning.accelerator_file import load_accelerators
from scaling.planning.budget import parse_budget
from scaling.planning.holdout import sealed_runs
from scaling.points import resolve_points
from scaling.predicting.calibration import NO_CALIBRATION, Calibration, measure, read_calibration
from scaling.records import run_directories
from scaling.spec import Sweep


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PlanRequest:
    """What a plan is made for."""

    num_devices: int
    accelerator: str
    accelerators: Path | None = None  # YAML file of the user's own
    usd_per_hour: float | None = None  # of one device
    jobs: int = 1  # runs that train at once, each on all devices
    budget: str | None = None
    calibration: Path | None = None  # of another sweep, where runs of this one do not say
    runs: Path = Path("runs")


def requested_plan(sweep: Sweep, request: PlanRequest) -> Plan:
    """The plan; ValueError naming the flag or file, its value, the rule and the fix."""
    budget = None if request.budget is None else parse_budget(request.budget)
    price = None if request.usd_per_hour is None else check_price(request.usd_per_hour)
    known = known_accelerators(request.accelerators)
    device = accelerator(request.accelerator, known)
    points = resolve_points(sweep, num_ranks=request.num_devices, require_data=False, device=device)
    plan = plan_sweep(
        points,
        request.accelerator,
        question=sweep.question,
        holdout=sealed_runs(sweep, points),
        sweep_file=str(sweep.path),
        settings=sweep.settings,
        calibration=_calibration(request, sweep.name),
        accelerators=known,
    )
    if price is not None:
        plan = plan.model_copy(update={"usd_per_hour": price})
    plan = plan.model_copy(update={"done": _done(plan, request.runs)})
    plan = with_schedule(plan, request.jobs)
    plan = plan if budget is None else with_purchase(plan, budget)
    return plan.model_copy(update={"is_agreed": True})


def known_accelerators(file: Path | None) -> Mapping[str, Accelerator]:
    """Those of the table, and those of a user's file."""
    return ACCELERATORS if file is None else load_accelerators(file)


def _done(plan: Plan, runs: Path) -> tuple[str, ...]:
    """The run ids of the plan that have their record: nothing of them is left to train."""
    finished = {run.path.name for run in run_directories(runs / plan.sweep) if run.record.exists()}
    return tuple(told.point.run_id for told in plan.points if told.point.run_id in finished)


def _calibration(request: PlanRequest, sweep_name: str) -> Calibration:
    given = NO_CALIBRATION if request.calibration is None else read_calibration(request.calibration)
    return given.with_rows_of(measure(request.runs / sweep_name))
