"""How well the finished runs used their devices and their time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.report.blocks import Cell, Table, column, figure_cell, text_column, words
from analysis.report.runs import in_order, inherits, value_of
from analysis.wording import number, share

GOODPUT = "measured_goodput."
STEP_PERCENTILES = ("p50", "p90", "p99")
NOT_PRODUCTIVE = ("initialisation", "data_stall", "checkpoint", "evaluation", "lost")


def efficiency_table(table: pd.DataFrame) -> Table | None:
    """One row per run that recorded its utilisation or its goodput; None if no run did."""
    rows = [_efficiency_row(run) for run in in_order(table) if _is_efficient(run)] if len(table) else []
    columns = (
        *(text_column("run"), column("samples/s"), column("MFU")),
        *(column(name, "seconds per step") for name in STEP_PERCENTILES),
        column("goodput", "share of wall time"),
        *(column(name.replace("_", " "), "share of wall time") for name in NOT_PRODUCTIVE),
        column("hours"),
    )
    note = (
        "MFU is model FLOP utilisation: counted training FLOPs over what the devices could do at most in the seconds "
        "that they trained (data sheet, or on a CPU a measured matrix product). Seconds per step are medians "
        "over the "
        "rows of metrics. Shares are of the wall time of all attempts: goodput went into steps that count; lost are "
        "steps done again after a fault, and what dead attempts left unaccounted."
        + (
            " Steps that a run inherited from another of its trunk count as its own."
            if inherits(table)
            else ""
        )
    )
    return (
        Table(caption="Use of devices and time", columns=columns, rows=tuple(rows), note=note)
        if rows
        else None
    )


def _is_efficient(run: Mapping[str, Any]) -> bool:
    return any(
        not pd.isna(value)
        for name, value in run.items()
        if name.startswith(GOODPUT) or name == "measured_model_flops_utilisation"
    )


def _efficiency_row(run: Mapping[str, Any]) -> tuple[Cell, ...]:
    seconds = {phase: value_of(run, GOODPUT + phase) for phase in ("productive", *NOT_PRODUCTIVE)}
    total = sum(seconds.values())
    rate, used = value_of(run, "measured_samples_per_second"), value_of(
        run, "measured_model_flops_utilisation"
    )
    steps = [value_of(run, f"measured_step_seconds.{name}") for name in STEP_PERCENTILES]
    shares = [value / total if total else float("nan") for value in seconds.values()]
    return (
        words(str(run["run_id"])),
        figure_cell(number(rate), rate),
        figure_cell(share(used), used),
        *(figure_cell(number(value), value) for value in steps),
        *(figure_cell(share(value), value) for value in shares),
        figure_cell(number(total / 3600), total / 3600),
    )
