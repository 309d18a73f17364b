"""One row per run that counts: where several settings were tried in a cell, what tuning them would have given.

A cell that was tried with several learning rates is no cell of several runs, and its best one is no fair point beside
a rival that had a single try (analysis.comparison.tuning).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from analysis.comparison.tuning import CELL, TuningBudget, equal_budget, one_per_cell, tuning_budget
from analysis.filters import Rule
from analysis.varied import AXIS_ORDER, what_varied

OTHER_SETTINGS, NOT_COMPARED = "other settings", "not compared"  # names of rules
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
    """The points of the fits, whom they left out, and how equally the first two objectives were tuned."""

    points: pd.DataFrame
    budget: TuningBudget | None  # None without two objectives
    rules: tuple[Rule, ...] = ()


def tuned_points(
    points: pd.DataFrame, objectives: Sequence[str], failed: pd.DataFrame | None = None
) -> TunedPoints:
    """The points as they are where every cell has one setting; else one per cell, the expected best of equal tries.

    Objectives that share no cell, and a lone one, get as many tries everywhere as their least tried cell had.  With
    tuning, objectives beyond the first two keep no point: nobody says how often they should have been tried.  Settings
    that failed were tried as well.
    """
    compared = [name for name in objectives if name in set(points["objective"])][:2] if len(points) else []
    if not compared:
        return TunedPoints(points=points, budget=None)
    runs = points if failed is None or failed.empty else pd.concat([points, failed], ignore_index=True)
    runs = runs.assign(setting=_settings(runs))
    budget = tuning_budget(runs, *compared) if len(compared) == 2 else None
    mine = runs[runs["objective"].isin(compared)]
    tried = mine.groupby(["objective", *CELL])["setting"].nunique()  # also of settings that failed
    shared = budget is not None and not budget.num_settings.empty
    if (tried == 1).all() or (shared and budget is not None and (budget.num_settings == 1).all(axis=None)):
        return TunedPoints(points=points, budget=budget)
    if shared:
        best, budget = equal_budget(runs, *compared)
    else:
        best = one_per_cell(mine, {}, int(tried.min()))
    best = best.drop(columns="setting")
    return TunedPoints(points=best, budget=budget, rules=_rules(points, mine, best))


def _rules(points: pd.DataFrame, compared: pd.DataFrame, best: pd.DataFrame) -> tuple[Rule, ...]:
    """The runs that one of their cell stands for, and those of objectives that are not compared."""
    merged = compared.loc[compared["error"].notna() & ~compared["run_id"].isin(best["run_id"]), "run_id"]
    others = points.loc[~points["run_id"].isin(compared["run_id"]), "run_id"]
    told = "one run of each cell stands for all settings tried in it, with the best error expected of equal tries"
    return (
        Rule(name=OTHER_SETTINGS, description=told, run_ids=tuple(merged.astype(str))),
        Rule(
            name=NOT_COMPARED,
            description="settings were tuned, and equally often only for the two objectives that are compared",
            run_ids=tuple(others.astype(str)),
        ),
    )


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
