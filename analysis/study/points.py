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
from scipy.special import logit

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
CLUSTER = "cluster"  # column of a study's table
PRIOR_RUN_SPREAD = 0.016
"""Standard deviation of an error rate e between seeds, in units of e (1 - e), where too few cells have two seeds: an
assumption (0.4 points at e = 0.5) that only weights runs against each other; intervals come from the residuals."""
MIN_SEEDED_CELLS = 3  # cells with several seeds from which the spread is estimated instead
EDGE = 0.05
"""Errors nearer to 0 or 1 have the variance of those that far away: there a law's misfit, not counting or seeds, is
the noise, and runs that learned nothing would outweigh all others a thousandfold."""


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
        clusters=_clusters(points),
        run_ids=[str(run_id) for run_id in points["run_id"]],
        **covariates,
    )


def cluster_labels(runs: pd.DataFrame) -> list[str]:
    """The cluster of each run: runs of one cell are in one, and runs of one trunk, and so whatever these link.

    Its label is its first cell, so that objectives with the same cells have the same labels; a run that tells no cell
    is one of its own.
    """
    cells = [_cell(run) for run in runs.to_dict("records")]
    first = {cell: cell for cell in cells}  # a cell of the same cluster, nearer to its first one
    trunks = list(runs["trunk"]) if "trunk" in runs else [None] * len(runs)
    cell_of_trunk: dict[str, str] = {}
    for cell, trunk in zip(cells, trunks, strict=True):
        if pd.isna(trunk):
            continue
        ends = _root(first, cell), _root(first, cell_of_trunk.setdefault(str(trunk), cell))
        first[max(ends)] = min(ends)
    return [_root(first, cell) for cell in cells]


def _cell(run: Mapping[Hashable, Any]) -> str:
    cell = [run.get(name) for name in ("image_tower", "samples_seen")]
    return str(run["run_id"]) if any(pd.isna(part) for part in cell) else "/".join(map(str, cell))


def _root(first: Mapping[str, str], cell: str) -> str:
    while first[cell] != cell:
        cell = first[cell]
    return cell


def _clusters(runs: pd.DataFrame) -> list[str]:
    """Those that were told for the whole study, else those of these runs alone."""
    return list(runs[CLUSTER]) if CLUSTER in runs else cluster_labels(runs)


def error_variance(points: pd.DataFrame) -> Floats:
    """Variance [N] of each error rate: of counting its evaluation's samples, and between runs of one cell.

    e (1 - e) / n for n evaluated samples (none recorded: left out), plus spread**2 (e (1 - e))**2, the spread pooled
    over cells with several seeds, PRIOR_RUN_SPREAD where fewer than MIN_SEEDED_CELLS have them; e at least EDGE from
    0 and 1.
    """
    error_N = np.clip(points["error"].to_numpy(dtype=float), EDGE, 1 - EDGE)
    inside_N = error_N * (1 - error_N)
    counted_N = np.nan_to_num(inside_N / points["num_evaluated"].to_numpy(dtype=float))
    return np.asarray(counted_N + run_spread(points) ** 2 * inside_N**2)


def run_spread(points: pd.DataFrame) -> float:
    """Standard deviation between seeds in units of e (1 - e): that of logits, pooled within cells, or the prior.

    Seeds that all agree to the last digit are no evidence that runs do not scatter: the prior as well.
    """
    logits = pd.Series(logit(points["error"].clip(EDGE, 1 - EDGE)), index=points.index)
    cells = logits.groupby([points["image_tower"], points["samples_seen"]])
    seeded = cells.count() > 1
    if seeded.sum() < MIN_SEEDED_CELLS:
        return PRIOR_RUN_SPREAD
    squares, freedom = (cells.var() * (cells.count() - 1))[seeded].sum(), (cells.count() - 1)[seeded].sum()
    return float(math.sqrt(squares / freedom)) or PRIOR_RUN_SPREAD


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
        clusters=tuple(_clusters(failed)),
        run_ids=tuple(map(str, failed["run_id"])),
    )


def menu_of(points: pd.DataFrame) -> Menu:
    """The towers of an objective with what a sample costs to train, text tower and head included.

    Points that tell no towers get a menu of one tower of unknown size, for laws of compute alone.
    """
    if "parameters.image_tower" not in points or points["parameters.image_tower"].isna().all():
        cost = float((points["train_flops"] / points["samples_seen"]).median())
        return Menu(towers=("any",), parameters_T=np.full(1, np.nan), flops_per_sample_T=np.full(1, cost))
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
