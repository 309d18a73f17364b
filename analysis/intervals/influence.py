"""How much single runs and cells decide: the exact change of a quantity when each is left out of the fit.

Shapes.  N points, G clusters, P parameters, R refits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.fitting.descent import descend
from analysis.fitting.fit import GRADIENT_TOLERANCE, ILL_CONDITIONED, Fit
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats
from analysis.intervals.asked import as_asked, problem_of
from analysis.intervals.clusters import clusters_of


def influence(fit: Fit, quantity: Callable[[Floats], Floats]) -> pd.DataFrame:
    """A row per run: run_id, cluster, leverage of its cluster, and the change of `quantity` (theta_RP -> values [R])
    when the run, and when its whole cluster, is left out, in the unit of the quantity.

    Every law is refitted to the remaining points, robustly as the fit was.  A change is missing (NaN) where the
    remaining points do not determine a law.  ValueError where the fit has no law.
    """
    fit = as_asked(fit)
    problem = problem_of(fit)
    clusters = clusters_of(fit, problem)
    cluster_N = fit.observations.cluster_N
    keep_NN = 1.0 - np.eye(len(cluster_N))
    keep_GN = (np.arange(len(clusters.labels))[:, None] != cluster_N).astype(float)
    change_R = _changes(fit, problem, clusters.huber_delta, np.concatenate([keep_NN, keep_GN]), quantity)
    return pd.DataFrame(
        {
            "run_id": fit.observations.run_ids,
            "cluster": fit.observations.clusters,
            "leverage": clusters.leverage_G[cluster_N],
            "change_without_run": change_R[: len(cluster_N)],
            "change_without_cluster": change_R[len(cluster_N) :][cluster_N],
        }
    )


def _changes(
    fit: Fit, problem: Problem, delta: float, keep_RN: Floats, quantity: Callable[[Floats], Floats]
) -> Floats:
    """quantity without the points of each row - quantity with all [R]; NaN where no law is determined."""
    estimate_1P = np.asarray([fit.found.theta])
    minima = descend(
        problem, np.tile(fit.found.theta, (len(keep_RN), 1)), delta_R=delta, multiplicity_RN=keep_RN
    )
    found_R = (minima.gradient_R <= GRADIENT_TOLERANCE) & _determined(problem, minima.theta_RP, keep_RN)
    change_R = np.full(len(keep_RN), np.nan)
    if found_R.any():
        change_R[found_R] = quantity(minima.theta_RP[found_R]) - float(quantity(estimate_1P)[0])
    return change_R


def _determined(problem: Problem, theta_RP: Floats, keep_RN: Floats) -> npt.NDArray[np.bool_]:
    """Whether the remaining points tell the parameters apart [R], as a fit demands."""
    jacobian_RNP = problem.linearised(theta_RP)[1] * np.sqrt(keep_RN)[..., None]
    size_R1P = np.maximum(np.linalg.norm(jacobian_RNP, axis=1, keepdims=True), 1e-300)
    return np.asarray(np.linalg.cond(jacobian_RNP / size_R1P) <= ILL_CONDITIONED)
