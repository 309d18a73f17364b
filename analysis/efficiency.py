"""How well the finished runs used their devices and their time: a table, and what their records warn of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.tables import Table, in_order
from analysis.wording import number, share

GOODPUT = "measured_goodput."
STEP_PERCENTILES = ("p50", "p90", "p99")
NOT_PRODUCTIVE = ("initialisation", "data_stall", "checkpoint", "evaluation", "lost")


def efficiency_table(table: pd.DataFrame) -> Table | None:
    """One row per run that recorded its utilisation or its goodput; None if no run did."""
    rows = [_row(run) for run in in_order(table) if _is_recorded(run)] if len(table) else []
    headings = (
        *(("", name) for name in ("run", "samples/s", "MFU")),
        *(("seconds per step", name) for name in STEP_PERCENTILES),
        ("share of wall time", "goodput"),
        *(("share of wall time", name.replace("_", " ")) for name in NOT_PRODUCTIVE),
        ("", "hours"),
    )
    return Table(headings=headings, rows=tuple(rows)) if rows else None


def warnings_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(run, sentence) of every warning in a record, and of rollbacks."""
    found = []
    for run in in_order(table) if "faults.warnings" in table else []:
        if run["status"] != "done":
            continue
        sentences = run["faults.warnings"].splitlines()
        if run["faults.num_rollbacks"]:
            sentences.append(
                f"Rolled back {run['faults.num_rollbacks']:.0f} times from a loss or gradient that was not finite; "
                f"steps whose batch was left out: {run['faults.skipped_batches'] or 'none'}."
            )
        found += [(str(run["run_id"]), sentence) for sentence in sentences]
    return found


def _is_recorded(run: Mapping[str, Any]) -> bool:
    return any(
        not pd.isna(value)
        for name, value in run.items()
        if name.startswith(GOODPUT) or name == "measured_model_flops_utilisation"
    )


def _row(run: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = {phase: _value(run, GOODPUT + phase) for phase in ("productive", *NOT_PRODUCTIVE)}
    total = sum(seconds.values())
    return (
        str(run["run_id"]),
        number(_value(run, "measured_samples_per_second")),
        share(_value(run, "measured_model_flops_utilisation")),
        *(number(_value(run, f"measured_step_seconds.{name}")) for name in STEP_PERCENTILES),
        *(share(value / total if total else float("nan")) for value in seconds.values()),
        number(total / 3600),
    )


def _value(run: Mapping[str, Any], column: str) -> float:
    return float(run.get(column, float("nan")))
