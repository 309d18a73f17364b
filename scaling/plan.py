"""The plan of a sweep: every point with its expected cost, under a hash of what was agreed to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from scaling.confounds import VariedField, what_varied, what_varied_in_placement
from scaling.cost import planned_cost
from scaling.hardware import accelerator
from scaling.placement import PLACEMENT_AXES
from scaling.points import RunPoint
from scaling.records import PlannedCost, write_atomically
from scaling.units import format_flops, format_quantity

PLAN_VERSION = 1

COST_COLUMNS = (
    *("steps", "samples\nseen"),
    *("image\ntower", "text\ntower", "head"),
    *("FLOPs/\nsample", "FLOPs", "device\nhours"),
)
"""Towers and head: parameters. FLOPs: of training, forward and backward, 2 x multiply-adds, no recomputation."""

TOLD_BY_RUN_ID = ("objective", "image_tower", "samples_seen", "seed")
"""Axes that stand in a run's name; others get a column of their own."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedPoint(_Frozen):
    """One run and what it is expected to take."""

    point: RunPoint
    cost: PlannedCost


class Plan(_Frozen):
    """A sweep, planned for a number of devices of one kind."""

    plan_version: int = PLAN_VERSION
    sweep: str
    question: str
    accelerator: str
    num_devices: int
    points: tuple[PlannedPoint, ...]  # cheapest first
    varied: tuple[VariedField, ...]  # the "what varied" table
    contract_hash: str  # over science, placement and evaluation; predictions do not enter

    @property
    def train_flops(self) -> int:
        """Model FLOPs of all points."""
        return sum(planned.cost.train_flops for planned in self.points)

    @property
    def device_hours(self) -> float:
        """Hours of one device over all points."""
        return sum(planned.cost.device_hours for planned in self.points)

    @property
    def is_provisional(self) -> bool:
        """Whether run ids and hash will change once the training set is there."""
        return any(planned.point.is_provisional for planned in self.points)


def plan_sweep(points: Sequence[RunPoint], accelerator_name: str, *, question: str = "") -> Plan:
    """The plan of resolved points on a named accelerator; the devices are the points' ranks."""
    device = accelerator(accelerator_name)
    assert points and len({(point.sweep, point.placement.num_ranks) for point in points}) == 1
    return Plan(
        sweep=points[0].sweep,
        question=question,
        accelerator=device.name,
        num_devices=points[0].placement.num_ranks,
        points=tuple(PlannedPoint(point=point, cost=planned_cost(point.science, device)) for point in points),
        varied=(
            *what_varied([point.science for point in points]),
            *what_varied_in_placement([(point.science, point.placement) for point in points]),
        ),
        contract_hash=_contract_hash(points),
    )


def _contract_hash(points: Sequence[RunPoint]) -> str:
    agreed = [
        point.model_dump(mode="json", include={"science", "placement", "evaluation"}) for point in points
    ]
    return hashlib.sha256(json.dumps(agreed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def write_plan(plan: Plan, path: Path) -> None:
    """Write plan.json, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, plan.model_dump_json(indent=1))


def plan_columns(plan: Plan) -> tuple[str, ...]:
    """The headings of the table: the run, the axes that its name does not tell, its cost."""
    return ("run", *(axis.replace("_", "\n") for axis in _own_columns(plan)), *COST_COLUMNS)


def _own_columns(plan: Plan) -> list[str]:
    return [row.field for row in plan.varied if row.kind == "axis" and row.field not in TOLD_BY_RUN_ID]


def plan_rows(plan: Plan) -> list[tuple[str, ...]]:
    """One row of text per point under `plan_columns`."""
    return [_row(planned, _own_columns(plan)) for planned in plan.points]


def _value(point: RunPoint, axis: str) -> object:
    return getattr(point.placement if axis in PLACEMENT_AXES else point.science, axis)


def _row(planned: PlannedPoint, axes: Sequence[str]) -> tuple[str, ...]:
    point, cost = planned.point, planned.cost
    parameters = [format_parameters(cost.parameters[part]) for part in ("image_tower", "text_tower", "head")]
    return (
        point.run_id,
        *(str(_value(point, axis)) for axis in axes),
        f"{cost.steps:,}",
        format_quantity(cost.steps * point.science.global_batch),
        *parameters,
        format_flops(sum(cost.train_flops_per_sample.values())),
        format_flops(cost.train_flops),
        format_hours(cost.device_hours),
    )


def plan_totals(plan: Plan) -> tuple[str, ...]:
    """The last row of the table: sums, under `plan_columns`."""
    steps = sum(planned.cost.steps for planned in plan.points)
    samples = sum(planned.cost.steps * planned.point.science.global_batch for planned in plan.points)
    hours = format_hours(plan.device_hours)
    sums = (f"{steps:,}", format_quantity(samples), "", "", "", "", format_flops(plan.train_flops), hours)
    return (f"{len(plan.points)} runs", *("" for _ in _own_columns(plan)), *sums)


def cost_summary(plan: Plan) -> str:
    """The cost line of a sweep file's header: runs, training FLOPs, device-hours."""
    flops, hours = format_flops(plan.train_flops), format_hours(plan.device_hours)
    return f"{len(plan.points)} runs, {flops} training FLOPs, {hours} device-hours on {plan.accelerator}"


def format_parameters(number: int) -> str:
    """Parameters with three significant digits, "-" for none: 21666048 -> "21.7M"."""
    return format_quantity(int(float(f"{number:.3g}"))) if number else "-"


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
