"""What varied between the runs of a sweep and what did not, computed from the runs alone.

A sweep that declares its axes has its own, stricter table (scaling.confounds); this one needs only the runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pandas as pd

NOT_SCIENCE = (
    "sweep",
    "run_id",
    "status",
    "reason",
    "progress",
    "final_loss",
    "skipped_steps",
    "finished_at",
    "trunk",
    "cluster",
    "error",
    "guessing_error",
    "scored_by",
    "num_evaluated",
    "metric",
    "compute_convention",
)
NOT_SCIENCE_PREFIXES = ("planned_", "measured_", "train_flops", "parameters")
AXIS_ORDER = ("objective", "image_tower", "samples_seen", "seed")


def what_varied(table: pd.DataFrame) -> list[dict[str, Any]]:
    """field, kind ("axis", "derived", "constant") and values of every science field, computed from the runs.

    A field is derived if the values of one or two axes determine it in every run of the sweep.
    """
    fields = [name for name in table.columns if is_science(name)]
    fields.sort(key=lambda name: AXIS_ORDER.index(name) if name in AXIS_ORDER else len(AXIS_ORDER))
    known = table.sort_values("planned_train_flops").dropna(subset=fields[:1])  # values: small runs first
    rows: list[dict[str, Any]] = []
    axes: list[str] = []
    for field in fields:
        values = list(known[field].drop_duplicates())
        leaders = _leaders(known, field, axes) if len(values) > 1 and field not in AXIS_ORDER else None
        kind = "constant" if len(values) <= 1 else "axis"
        if leaders:
            kind = f"derived (follows {' and '.join(leaders)})"
        elif kind == "axis":
            axes.append(field)
        rows.append({"field": field, "kind": kind, "values": values})
    return sorted(rows, key=lambda row: ("axis", "derived", "constant").index(row["kind"].split()[0]))


def is_science(column: str) -> bool:
    """Whether a column of the sweep table is a field of a point's science."""
    return "." not in column and column not in NOT_SCIENCE and not column.startswith(NOT_SCIENCE_PREFIXES)


def _leaders(table: pd.DataFrame, field: str, axes: Sequence[str]) -> tuple[str, ...] | None:
    for size in (1, 2):
        for leaders in itertools.combinations(axes, size):
            if table.groupby(list(leaders), dropna=False)[field].nunique(dropna=False).max() == 1:
                return leaders
    return None
