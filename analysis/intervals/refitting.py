"""The descents of a wild bootstrap: every refit to its minimum, with more starts for those that do not find one.

Shapes.  N points, P parameters, R refits.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.fitting.descent import Minima, descend
from analysis.fitting.fit import GRADIENT_TOLERANCE, Fit
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats
from analysis.intervals.clusters import Clusters

OTHER_STARTS = 3  # seeds from which a refit that reached no minimum is tried again
MORE_STEPS = 1_000  # of such a try: along a valley in which a term fades, each step is short


def refitted(fit: Fit, problem: Problem, clusters: Clusters, sign_RN: Floats) -> Minima:
    """Minima for predictions + sign x corrected residual, from the estimate on; `fit` has a law."""
    predicted_N = problem.target_N + clusters.residual_N / np.sqrt(problem.weight_N)
    noise_N = clusters.corrected_N / np.sqrt(problem.weight_N)
    theta_RP = np.tile(fit.found.theta, (len(sign_RN), 1))
    target_RN = predicted_N + sign_RN * noise_N
    minima = descend(problem, theta_RP, delta_R=clusters.huber_delta, target_RN=target_RN)
    return tried_again(minima, problem, clusters.huber_delta, target_RN)


def tried_again(minima: Minima, problem: Problem, delta: float, target_RN: Floats) -> Minima:
    """The minima, those that were not reached descended to once more: from where they stopped, and from the seeds."""
    rows = np.flatnonzero(minima.gradient_R > GRADIENT_TOLERANCE)
    if not len(rows):
        return minima
    starts = [
        minima.theta_RP[rows],
        *(np.tile(theta_P, (len(rows), 1)) for theta_P in problem.seeds(OTHER_STARTS)),
    ]
    tried = [
        descend(problem, start_RP, delta_R=delta, target_RN=target_RN[rows], max_steps=MORE_STEPS)
        for start_RP in starts
    ]
    best_R = np.argmin([one.objective_R for one in tried], axis=0)
    theta_RP, objective_R, gradient_R = (
        np.array(values) for values in (minima.theta_RP, minima.objective_R, minima.gradient_R)
    )
    for place, (row, best) in enumerate(zip(rows, best_R, strict=True)):
        theta_RP[row], objective_R[row] = tried[best].theta_RP[place], tried[best].objective_R[place]
        gradient_R[row] = tried[best].gradient_R[place]
    return dataclasses.replace(minima, theta_RP=theta_RP, objective_R=objective_R, gradient_R=gradient_R)
