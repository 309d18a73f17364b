"""One row per run that counts: where several settings were tried in a cell, what tuning them would have given.

A cell that was tried with several learning rates is no cell of several runs, and its best one is no fair point beside
a rival that had a single try (analysis.comparison.tuning).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from analysis.comparison.tuning import TuningBudget, equal_budget, tuning_budget
from analysis.varied import AXIS_ORDER, what_varied

OBJECTIVE_ORDER = ("superclass", "clip", "siglip", "superclip", "lit")
TUNED = frozenset(
    {
        "learning_rate",
        "weight_decay",
        "warmup_samples",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "gradient_clipping",
        "drop_path",
        "logit_scale_init",
    }
)
"""Science fields that are tuned and say nothing about the method; any other field that varies makes another method."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TunedPoints:
    """The points of the fits, and how equally the first two objectives were tuned."""

    points: pd.DataFrame
    budget: TuningBudget | None


def tuned_points(points: pd.DataFrame, objectives: Sequence[str]) -> TunedPoints:
    """The points as they are where every cell has one setting; else one per cell, the expected best of equal tries.

    With tuning, objectives beyond the first two keep no point: nobody says how often they should have been tried.
    """
    present = [name for name in objectives if name in set(points["objective"])] if len(points) else []
    if len(present) < 2:
        return TunedPoints(points=points, budget=None)
    studied, rival = present[:2]
    runs = points.assign(setting=_settings(points))
    budget = tuning_budget(runs, studied, rival)
    tried = budget.num_settings
    if tried.empty or (tried == 1).all(axis=None):
        return TunedPoints(points=points, budget=budget)
    best, corrected = equal_budget(runs, studied, rival)
    return TunedPoints(points=best.drop(columns="setting"), budget=corrected)


def objectives_of(table: pd.DataFrame) -> list[str]:
    """Objectives of the sweep: the studied one first, then its rival, then any other by name."""
    present = set(table["objective"].dropna().astype(str)) if "objective" in table else set[str]()
    return [name for name in OBJECTIVE_ORDER if name in present] + sorted(present - set(OBJECTIVE_ORDER))


def own_axes(table: pd.DataFrame) -> list[str]:
    """The science fields in which runs of one objective differ beside size, samples and seed."""
    axes = [row["field"] for row in what_varied(table) if row["kind"] == "axis"] if len(table) else []
    return [axis for axis in axes if axis not in AXIS_ORDER]


def method_axes(points: pd.DataFrame) -> list[str]:
    """Those of them that make another method, so that one law cannot join the runs."""
    return [axis for axis in own_axes(points) if axis not in TUNED]


def _settings(points: pd.DataFrame) -> pd.Series[str]:
    """What was tuned in each run, as text; the same everywhere if nothing was."""
    tuned = [axis for axis in own_axes(points) if axis in TUNED]
    if not tuned:
        return pd.Series("", index=points.index)
    return points[tuned].astype(str).agg(", ".join, axis=1)
