"""What is missing from a sweep, or does not compare, in sentences."""

from __future__ import annotations

import pandas as pd

from analysis.filters import FAILED_STATUSES
from analysis.wording import num_runs


def standing(table: pd.DataFrame, num_not_started: int) -> list[str]:
    """What is missing from the sweep or does not compare, a sentence per kind; empty when all is well."""
    sentences = []
    for run in table[table["status"].isin(FAILED_STATUSES)].to_dict("records"):
        reason = str(run["reason"]).rstrip(".") or "no reason recorded"
        sentences.append(f"{run['run_id']} failed ({run['status']}): {reason}.")
    for status in table["status"][~table["status"].isin([*FAILED_STATUSES, "done"])].unique():
        run_ids = table.loc[table["status"] == status, "run_id"]
        sentences.append(f"{num_runs(len(run_ids))} {status}: {', '.join(run_ids)}.")
    if num_not_started:
        sentences.append(f"Planned, but without a run directory: {num_runs(num_not_started)}.")
    if table.empty:
        sentences.append("The sweep folder holds no run.")
    return sentences + [f"{told}: its scores do not all compare." for told in _mixed_protocols(table)]


def protocols(table: pd.DataFrame) -> dict[str, list[str]]:
    """The procedures, with versions, by which each task was measured."""
    columns = [
        name for name in table.columns if name.startswith("evaluation.") and name.endswith(".protocol")
    ]
    return {name.split(".")[1]: sorted(map(str, table[name].dropna().unique())) for name in columns}


def _mixed_protocols(table: pd.DataFrame) -> list[str]:
    """Tasks measured by several procedures within one objective; two objectives may well have their own."""
    groups = table.groupby("objective") if "objective" in table else ()
    return [
        f"{task} of {objective} was measured by {len(names)} protocols"
        for objective, runs in groups
        for task, names in protocols(runs).items()
        if len(names) > 1
    ]
