"""Curves of a study as rows: the frontier of an objective with its bands, and its runs with their standing.

Shapes.  R laws, M compute values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.filters import FAILED_STATUSES
from analysis.fitting.fit import Fit
from analysis.forms.form import Floats
from analysis.frontier import Menu, beyond_samples, frontier_errors
from analysis.intervals.interval import Band
from analysis.study.study import MetricStudy, ObjectiveStudy

CURVE_POINTS = 96
FARTHEST = 10.0  # times the largest fitted compute: beyond it no interval is drawn
RUN_COLUMNS = ("run_id", "objective", "image_tower", "samples_seen", "seed", "status", "planned_train_flops")
_ENDS = ("mean_lower", "mean_upper", "new_run_lower", "new_run_upper")


def compute_grid(side: ObjectiveStudy, farthest: float = 0.0) -> Floats:
    """Compute values [M] from the least to the largest fitted, and on to `farthest` (at most FARTHEST times that)."""
    low, high = float(side.points["train_flops"].min()), float(side.points["train_flops"].max())
    grid_M = np.geomspace(low, high, CURVE_POINTS)
    end = min(farthest, FARTHEST * high)
    return np.concatenate([grid_M, np.geomspace(high, end, CURVE_POINTS // 3)[1:]]) if end > high else grid_M


def frontier_curve(side: ObjectiveStudy, farthest: float = 0.0) -> pd.DataFrame | None:
    """train_flops, error, ends of the band of the mean and of a new run, extrapolated; None without a law.

    Ends are absent (NaN) where there is no band, and infinite where it is open.  Extrapolated is what lies beyond the
    compute of all runs, and where the best tower is trained for more samples than any of its runs.
    """
    if side.fit is None or side.fit.law is None:
        return None
    compute_M = compute_grid(side, farthest)

    def errors(fit: Fit) -> Callable[[Floats], Floats]:
        return lambda theta_RP: _frontier_errors(fit, side.menu, theta_RP, compute_M)

    bands: dict[str, Floats] = dict.fromkeys(_ENDS, np.full(len(compute_M), np.nan))
    if side.refits is not None and not side.refits.reason:
        refitted = errors(side.refits.fit)  # in the form asked for, which may have a parameter more
        bands |= _ends(side.refits.curve(refitted), "mean") | _ends(side.refits.new_run(refitted), "new_run")
    error_M = errors(side.fit)(np.asarray([side.fit.law.theta]))[0]
    extrapolated = compute_M > side.points["train_flops"].max() * (1 + 1e-9)
    if side.menu is not None and side.fit.form.covariates != ("train_flops",):
        extrapolated |= beyond_samples(side.fit.law, side.menu, compute_M)
    return pd.DataFrame({"train_flops": compute_M, "error": error_M, **bands, "extrapolated": extrapolated})


def runs_of(study: MetricStudy) -> pd.DataFrame:
    """Every run of the study: its columns, train_flops, error, standing, and whether it is a raw Pareto point.

    Errors and measured compute of sealed runs are absent: a figure must not open the holdout.
    """
    runs = study.table.reindex(columns=[*RUN_COLUMNS])
    scores = study.selection.points[["run_id", "train_flops", "error"]]
    runs = runs.merge(scores, on="run_id", how="left")
    fitted = [run for side in study.sides.values() for run in side.points["run_id"]]
    failed = runs["status"].isin(FAILED_STATUSES)
    choices = [
        runs["run_id"].isin(study.options.sealed),
        runs["run_id"].isin(fitted),
        runs["error"].notna(),
        failed,
    ]
    runs["standing"] = np.select(choices, ["sealed", "fitted", "left out", "failed"], "not finished")
    runs.loc[runs["standing"] == "sealed", ["train_flops", "error"]] = np.nan
    runs["pareto"] = _pareto(runs[runs["standing"] == "fitted"]).reindex(runs.index, fill_value=False)
    return runs


def _pareto(points: pd.DataFrame) -> pd.Series[bool]:
    """Whether no other run of the objective has less error for no more compute."""
    flags = pd.Series(False, index=points.index)
    for _, of_objective in points.groupby("objective"):
        ordered = of_objective.sort_values(["train_flops", "error"], kind="stable")
        best = ordered["error"].cummin().shift(fill_value=np.inf)
        flags[ordered.index] = ordered["error"] < best
    return flags


def _frontier_errors(fit: Fit, menu: Menu | None, theta_RP: Floats, compute_M: Floats) -> Floats:
    """Errors [R, M] at each compute: of the best tower of the menu, or of a law of compute alone."""
    form, references = fit.form, fit.found.references
    if form.covariates == ("train_flops",):
        return form.predict(theta_RP, np.log(compute_M / references["train_flops"])[:, None])
    assert menu is not None, "a surface of parameters has a menu of towers"
    return frontier_errors(form, theta_RP, references, menu, compute_M)


def _ends(band: Band, name: str) -> dict[str, Floats]:
    """Ends of a band; no error is below 0."""
    if band.reason:
        return {}
    return {f"{name}_lower": np.maximum(band.lower_M, 0.0), f"{name}_upper": band.upper_M}
