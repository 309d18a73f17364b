"""A plan as tables for the terminal: what is trained, where, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from scaling.placement import PLACEMENT_AXES
from scaling.plan import Plan, format_hours
from scaling.planning.spending import PlannedPoint
from scaling.points import RunPoint
from scaling.records import PlannedCost
from scaling.units import format_flops, format_quantity

TOLD_BY_RUN_ID = ("objective", "image_tower", "samples_seen", "seed")
"""Axes that stand in a run's name; the others get a table."""

TRAINED = (
    *("steps", "samples\nseen", "image\ntower", "text\ntower", "head"),
    *("model\nFLOPs/\nsample", "hardware\nFLOPs/\nsample"),
)
PLACED = ("engine", "ZeRO\nstage", "micro-\nbatch", "recomputed\nin backward", "device\nmemory")
HOST = "host\nmemory"  # a column where something is offloaded
TAKEN = ("model\nFLOPs", "hardware\nFLOPs", "device\nhours", "wall\nhours")
TAKEN_BYTES = ("peak\nmemory", "data\nread", "disk")  # each column in one unit, that of its largest figure
SMALLEST_PLAIN = 0.01  # smaller numbers are written as powers of ten
BRANCHES = "+"  # before the device-hours of a run that adds only what comes after its branch
USUAL_WIDTH = 100  # columns of a console
TOO_LARGE = "!"  # behind a predicted peak that does not fit

UNITS = {"PB": 1e15, "TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}  # decimal, as data sheets count


def plan_tables(plan: Plan, width: int = USUAL_WIDTH) -> list[Table]:
    """What differs besides what the runs' names tell, what is trained, how it is placed, and what it takes in all.

    For a console of `width` columns: no figure is cut in two.
    """
    place = f"{plan.num_devices:,} x {plan.accelerator}"
    axes, points = own_axes(plan), plan.points
    differs = [
        (told.point.run_id, *(str(_value(told.point, axis)) for axis in axes)) for told in points if axes
    ]
    taken = _table(
        f"{plan.sweep}: what it takes on {place}",
        ("run", *taken_columns(plan)),
        [*(taken_row(told, plan) for told in points), (), totals_row(plan)],
        width,
    )
    taken.rows[-1].style = "bold"
    tables = [
        _table(
            f"{plan.sweep}: what is trained (towers and head in parameters)",
            ("run", *TRAINED),
            [trained_row(told) for told in points],
            width,
        ),
        _table(
            f"{plan.sweep}: how it is placed on {place}",
            ("run", *placed_columns(plan)),
            [placed_row(told, plan) for told in points],
            width,
        ),
        taken,
    ]
    return (
        [_table(f"{plan.sweep}: what differs", ("run", *axes), differs, width), *tables] if axes else tables
    )


def _table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]], width: int) -> Table:
    """Two spaces between columns; one where a console would be too narrow. Names, if any, are folded, never figures."""
    cells = zip(*(row for row in (columns, *rows) if row), strict=True)
    widest = [max(len(line) for cell in column for line in cell.split("\n")) for column in cells]
    gap = 1 if sum(widest) + 2 * (len(widest) - 1) <= width else 0
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0))
    for column in columns:
        is_name = column == "run"
        table.add_column(column, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def own_axes(plan: Plan) -> list[str]:
    """The axes that a run's name does not tell."""
    return [row.field for row in plan.varied if row.kind == "axis" and row.field not in TOLD_BY_RUN_ID]


def taken_columns(plan: Plan) -> tuple[str, ...]:
    """TAKEN, then the columns of bytes with their units, then money where there is a price."""
    sizes = (f"{column}\n({unit})" for column, unit in zip(TAKEN_BYTES, units_of_bytes(plan), strict=True))
    return (*TAKEN, *sizes, *(() if plan.usd_per_hour is None else ("usd",)))


def units_of_bytes(plan: Plan) -> tuple[str, str, str]:
    """The units of TAKEN_BYTES."""
    totals = plan.totals
    return (unit_of(_largest_peak(plan)), unit_of(totals.data_bytes), unit_of(totals.disk_bytes))


def _largest_peak(plan: Plan) -> int:
    return max(planned.cost.peak_memory_bytes or 0 for planned in plan.points)


def trained_row(planned: PlannedPoint) -> tuple[str, ...]:
    """The cells of one run under TRAINED, behind its name."""
    point, cost = planned.point, planned.cost
    return (
        point.run_id,
        f"{cost.steps:,}",
        format_quantity(cost.steps * point.science.global_batch),
        *(format_parameters(cost.parameters[part]) for part in ("image_tower", "text_tower", "head")),
        format_flops(sum(cost.train_flops_per_sample.values())),
        format_flops(sum(cost.hardware_flops_per_sample.values())),
    )


def _value(point: RunPoint, axis: str) -> object:
    return getattr(point.placement if axis in PLACEMENT_AXES else point.science, axis)


def placed_columns(plan: Plan) -> tuple[str, ...]:
    """PLACED, and HOST where something is offloaded."""
    return (*PLACED, HOST) if any(told.cost.host_memory_bytes for told in plan.points) else PLACED


def placed_row(planned: PlannedPoint, plan: Plan) -> tuple[str, ...]:
    """The cells of one run under `placed_columns`: what the file says or the planner chose, and the peak it gives."""
    cost, placement = planned.cost, planned.point.placement
    every = placement.activation_checkpointing_every
    recomputed = placement.activation_checkpointing + (f", 1 in {every}" if every > 1 else "")
    cells = (
        planned.point.run_id,
        placement.engine,
        str(placement.zero_stage),
        f"{placement.micro_batch:,}",
        recomputed,
        format_bytes(cost.peak_memory_bytes or 0),
    )
    return (*cells, format_bytes(cost.host_memory_bytes or 0))[: 1 + len(placed_columns(plan))]


def taken_row(planned: PlannedPoint, plan: Plan) -> tuple[str, ...]:
    """The cells of one run under `taken_columns`, of what is spent on it; a peak that does not fit is marked."""
    spent, peak = planned.spent, planned.cost.peak_memory_bytes or 0
    mark = f" {TOO_LARGE}" if is_too_large(planned.cost, plan) else ""
    memory, data, disk = _sizes(plan, peak, spent.data_bytes, spent.disk_bytes)
    return (
        planned.point.run_id,
        format_flops(spent.train_flops),
        format_flops(spent.hardware_flops),
        (BRANCHES if planned.branch else "") + short(spent.device_hours),
        short(spent.device_hours / plan.num_devices),
        *(memory + mark, data, disk),
        *_money(plan, spent.device_hours),
    )


def is_too_large(cost: PlannedCost, plan: Plan) -> bool:
    """Whether a run's predicted peak is more than a device has to give."""
    return (cost.peak_memory_bytes or 0) > plan.usable_memory_bytes


def totals_row(plan: Plan) -> tuple[str, ...]:
    """The sums under `taken_columns`; of memory the largest."""
    totals = plan.totals
    return (
        f"{len(plan.points)} runs",
        format_flops(totals.train_flops),
        format_flops(totals.hardware_flops),
        short(totals.device_hours),
        short(totals.device_hours / plan.num_devices),
        *_sizes(plan, _largest_peak(plan), totals.data_bytes, totals.disk_bytes),
        *_money(plan, totals.device_hours),
    )


def _sizes(plan: Plan, *sizes: int) -> tuple[str, ...]:
    units = units_of_bytes(plan)
    return tuple(format_hours(size / UNITS[unit]) for size, unit in zip(sizes, units, strict=True))


def _money(plan: Plan, device_hours: float) -> tuple[str, ...]:
    return () if plan.usd_per_hour is None else (short(device_hours * plan.usd_per_hour),)


def short(number: float) -> str:
    """A number that fits into a narrow column: 22612.3 -> "22,600", 0.000406 -> "4.1e-4"."""
    if number >= SMALLEST_PLAIN or number == 0:
        return format_hours(number)
    mantissa, exponent = f"{number:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def format_parameters(number: int) -> str:
    """Parameters with three significant digits, "-" for none: 21666048 -> "21.7M"."""
    return format_quantity(int(float(f"{number:.3g}"))) if number else "-"


def unit_of(size: float) -> str:
    """The unit in which a size has the fewest digits before the point: 141e9 -> "GB"."""
    return next((unit for unit, in_bytes in UNITS.items() if size >= in_bytes), "B")


def format_bytes(size: float) -> str:
    """A size in its own unit, with three significant digits: 41231686041 -> "41.2 GB"."""
    unit = unit_of(size)
    return f"{format_hours(size / UNITS[unit])} {unit}"
