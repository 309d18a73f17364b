"""The runs of one objective as points of a fit.

Shapes.  N points.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison.side import FailedRuns
from analysis.filters import FAILED_STATUSES, is_loss
from analysis.fitting.observations import Observations
from analysis.forms.form import Floats
from analysis.frontier import Menu

COVARIATES = MappingProxyType(
    {
        "train_flops": "train_flops",
        "samples_seen": "samples_seen",
        "parameters": "parameters.image_tower",
        "unique_samples": "data.unique_samples",
    }
)
"""Columns of the sweep table by the covariates of forms."""
PRIOR_RUN_SPREAD = 0.016
"""Standard deviation of an error rate e between seeds, in units of e (1 - e), where too few cells have two seeds: an
assumption (0.4 points at e = 0.5) that only weights runs against each other; intervals come from the residuals."""
MIN_SEEDED_CELLS = 3  # cells with several seeds from which the spread is estimated instead


def observations_of(points: pd.DataFrame, metric: str) -> Observations:
    """The points (rows of filters.Selection) with covariates train_flops, parameters, samples_seen, unique_samples.

    Seeds of one cell share a cluster, runs of one wsd trunk as well, and both objectives use the same labels, so that
    their cells can be paired.  A covariate that no run recorded is left out.
    """
    covariates = {
        name: points[column]
        for name, column in COVARIATES.items()
        if column in points and points[column].notna().all() and len(points)
    }
    return Observations.of(
        points["error"],
        variance=None if is_loss(metric) else error_variance(points),
        clusters=[cluster_of(run) for run in points.to_dict("records")],
        run_ids=[str(run_id) for run_id in points["run_id"]],
        **covariates,
    )


def cluster_of(run: Mapping[Hashable, Any]) -> str:
    """The label of a run's cluster, the same for its rivals: its trunk, else its cell, itself where it tells none.

    A trunk is told by tower and seed, or by its name where a table of others has no seeds.
    """
    trunk, tower, samples, seed = (run.get(name) for name in ("trunk", "image_tower", "samples_seen", "seed"))
    if isinstance(trunk, str):
        return trunk if pd.isna(tower) or pd.isna(seed) else f"{tower}/trunk/{seed:g}"
    return str(run["run_id"]) if pd.isna(tower) or pd.isna(samples) else f"{tower}/{samples}"


def error_variance(points: pd.DataFrame) -> Floats:
    """Variance [N] of each error rate: of counting its evaluation's samples, and between runs of one cell.

    e (1 - e) / n for n evaluated samples (none recorded: left out), plus spread**2 (e (1 - e))**2, the spread pooled
    over cells with several seeds, PRIOR_RUN_SPREAD where fewer than MIN_SEEDED_CELLS have them.
    """
    error_N = points["error"].to_numpy(dtype=float)
    inside_N = np.maximum(error_N * (1 - error_N), 1e-6)  # an error of 1 still has a variance
    counted_N = np.nan_to_num(inside_N / points["num_evaluated"].to_numpy(dtype=float))
    return np.asarray(counted_N + run_spread(points) ** 2 * inside_N**2)


def run_spread(points: pd.DataFrame) -> float:
    """Standard deviation between seeds in units of e (1 - e): pooled within cells, or the prior."""
    relative = points["error"] / (points["error"] * (1 - points["error"])).clip(lower=1e-6)
    cells = relative.groupby([points["image_tower"], points["samples_seen"]])
    seeded = cells.count() > 1
    if seeded.sum() < MIN_SEEDED_CELLS:
        return PRIOR_RUN_SPREAD
    squares, freedom = (cells.var() * (cells.count() - 1))[seeded].sum(), (cells.count() - 1)[seeded].sum()
    return float(math.sqrt(squares / freedom))


def ceiling_of(points: pd.DataFrame, metric: str) -> float:
    """The error of guessing: infinity for a loss, 1 for a metric without a recorded chance."""
    if is_loss(metric):
        return math.inf
    guessing = points["guessing_error"].min()
    return 1.0 if math.isnan(guessing) else float(guessing)


def failed_runs(table: pd.DataFrame, objective: str, covariates: Sequence[str]) -> FailedRuns | None:
    """The objective's runs that ended without a result, at their planned compute; None if there are none."""
    failed = table[table["status"].isin(FAILED_STATUSES) & (table["objective"] == objective)]
    columns = {"train_flops": "planned_train_flops", "parameters": "parameters.image_tower"}
    wanted = {name: columns.get(name, name) for name in {*covariates, "train_flops"}}
    if not set(wanted.values()) <= set(failed):
        return None
    failed = failed.dropna(subset=list(wanted.values()))
    if failed.empty:
        return None
    return FailedRuns(
        covariates={name: failed[column].to_numpy(dtype=float) for name, column in wanted.items()},
        clusters=tuple(cluster_of(run) for run in failed.to_dict("records")),
        run_ids=tuple(map(str, failed["run_id"])),
    )


def menu_of(points: pd.DataFrame) -> Menu:
    """The towers of an objective with what a sample costs to train, text tower and head included.

    Points that tell no towers get a menu of one tower of unknown size, for laws of compute alone.
    """
    if "parameters.image_tower" not in points or points["parameters.image_tower"].isna().all():
        unknown_T = np.full(1, np.nan)
        return Menu(towers=("any",), parameters_T=unknown_T, flops_per_sample_T=unknown_T)
    per_sample = points["train_flops"] / points["samples_seen"]
    rows = points.assign(flops_per_sample=per_sample).groupby("image_tower")
    columns = rows[["parameters.image_tower", "flops_per_sample"]].median().sort_values("flops_per_sample")
    most_samples = rows["samples_seen"].max().reindex(columns.index)
    return Menu(
        towers=tuple(map(str, columns.index)),
        parameters_T=columns["parameters.image_tower"].to_numpy(dtype=float),
        flops_per_sample_T=columns["flops_per_sample"].to_numpy(dtype=float),
        most_samples_T=most_samples.to_numpy(dtype=float),
    )
