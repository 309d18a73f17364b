"""Least absolute residuals to optimality: a sequence of linear programs, each the problem linearised where it stands.

The minimum of absolute values is a corner: as many residuals as there are parameters are 0 there, and no gradient is.
So the test of a minimum is the best gain of the linearised problem, which is 0 there and nowhere else (Fletcher 1987,
chapter 14); near a corner the steps converge quadratically.

Shapes.  N points, P parameters.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from analysis.fitting.problem import Problem
from analysis.forms.form import Floats

MAX_PROGRAMS = 40
FIRST_RADIUS, LEAST_RADIUS = 0.1, 1e-12  # largest change of a theta in one step
PROMISED = 0.1  # share of the linearised gain a step has to deliver
SMALL_GAIN = 1e-13  # of the objective


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Corner:
    """Where the programs ended."""

    theta_P: Floats
    objective: float  # sum of |weighted residuals|
    gain: float  # of the linearised problem by a step of at most 1 in each theta; 0 at a minimum


def absolute_minimum(problem: Problem, theta_P: Floats) -> Corner:
    """The minimum of the sum of absolute weighted residuals next to a theta that is close already."""
    objective, radius = _objective(problem, theta_P), FIRST_RADIUS
    for _ in range(MAX_PROGRAMS):
        step_P, promised = _program(problem, theta_P, radius)
        if promised <= SMALL_GAIN * objective or radius < LEAST_RADIUS:
            break
        there = _objective(problem, theta_P + step_P)
        if objective - there >= PROMISED * promised:
            theta_P, objective, radius = theta_P + step_P, there, min(2 * radius, 1.0)
        else:
            radius = min(radius, float(np.abs(step_P).max())) / 4
    return Corner(theta_P=theta_P, objective=objective, gain=_program(problem, theta_P, 1.0)[1])


def _objective(problem: Problem, theta_P: Floats) -> float:
    return float(np.abs(problem.residuals(theta_P[None])).sum())


def _program(problem: Problem, theta_P: Floats, radius: float) -> tuple[Floats, float]:
    """The step [P] of at most `radius` that minimises the linearised objective, and its gain."""
    residual_N, jacobian_NP = (part[0] for part in problem.linearised(theta_P[None]))
    lower_P, upper_P = problem.bounds
    box_P2 = np.stack([np.maximum(lower_P - theta_P, -radius), np.minimum(upper_P - theta_P, radius)], axis=1)
    num, scale = len(residual_N), float(np.abs(residual_N).mean()) + 1e-300
    # residual + jacobian step = above - below, both >= 0: their sum is the absolute value
    result = linprog(
        np.concatenate([np.zeros(len(theta_P)), np.ones(2 * num)]),
        A_eq=sparse.hstack([jacobian_NP / scale, -sparse.identity(num), sparse.identity(num)], format="csr"),
        b_eq=-residual_N / scale,
        bounds=np.concatenate([box_P2, np.tile([0.0, np.inf], (2 * num, 1))]),
        method="highs",
    )
    if result.status != 0:  # no step, and nothing known about the gain
        return np.zeros_like(theta_P), np.inf
    step_P = np.clip(result.x[: len(theta_P)], box_P2[:, 0], box_P2[:, 1])
    linear = float(np.abs(residual_N + jacobian_NP @ step_P).sum())
    return step_P, float(np.abs(residual_N).sum()) - linear
