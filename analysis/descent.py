"""From a start to the minimum it leads to, with an analytic Jacobian.

Shapes.  N points, P unconstrained parameters (2 with a fixed floor, else 3).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.optimize import least_squares

from analysis.laws import Floats, LogParameters, SaturatingPowerLaw
from analysis.problem import Problem
from analysis.projection import Start

FARTHEST = 40.0  # bound on log parameters, in units of the largest error: only there to keep exp() finite
SMALL_FLOOR = 1e-2  # of the scale; below it a floor of exactly 0 is tried as well
MAX_EVALUATIONS = 300


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Minimum:
    """Where one start ended."""

    law: SaturatingPowerLaw
    objective: float  # sum of squared (or Huber) residuals
    gradient_norm: float  # by the log parameters, objective scaled to 1 for the best constant


def descend(problem: Problem, start: Start) -> Minimum:
    """The minimum reached from a start, with a floor of exactly 0 where raising it would not help."""
    options = problem.options
    family = LogParameters(
        reference_compute=problem.reference_compute, ceiling=options.ceiling, fixed_floor=options.fixed_floor
    )
    if options.fixed_floor is not None:
        return _refine(problem, family, start)
    on_boundary = dataclasses.replace(family, fixed_floor=0.0)
    if start.floor == 0:
        at_zero = _refine(problem, on_boundary, start)
        if _floor_slope(problem, at_zero.law) >= 0:
            return at_zero
    free = _refine(problem, family, start)
    if free.law.floor > SMALL_FLOOR * free.law.scale:
        return free
    at_zero = _refine(problem, on_boundary, Start(0.0, free.law.scale, free.law.exponent))
    return min(at_zero, free, key=lambda minimum: minimum.objective)


def _refine(problem: Problem, family: LogParameters, start: Start) -> Minimum:
    def residuals_N(parameters_P: Floats) -> Floats:
        return problem.linearise(family.law(parameters_P))[0]

    def jacobian_NP(parameters_P: Floats) -> Floats:
        slope_N = problem.linearise(family.law(parameters_P))[1]
        return np.asarray(slope_N[:, None] * family.jacobian(parameters_P, problem.compute_N))

    delta = problem.options.huber_delta
    lower_P, upper_P = _box(problem, family)
    result = least_squares(
        residuals_N,
        np.clip(family.coordinates(*start), lower_P, upper_P),
        jacobian_NP,
        bounds=(lower_P, upper_P),
        loss="linear" if delta is None else "huber",
        f_scale=1.0 if delta is None else delta,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-14,
        max_nfev=MAX_EVALUATIONS,
    )
    gradient = float(np.linalg.norm(2 * result.grad)) / problem.flat_objective
    return Minimum(law=family.law(result.x), objective=2 * float(result.cost), gradient_norm=gradient)


def _floor_slope(problem: Problem, law: SaturatingPowerLaw) -> float:
    """Half the derivative of the objective by the floor; positive where the points ask for a lower one."""
    residual_N, slope_N, robust_N = problem.linearise(law)
    return float(np.sum(robust_N * residual_N * slope_N))


def _box(problem: Problem, family: LogParameters) -> tuple[Floats, Floats]:
    """Bounds [P] on the coordinates: the exponents of the grid; scale and floor practically free."""
    size = math.log(float(np.max(problem.error_N)))
    lower = [size - FARTHEST, math.log(problem.exponents_G[0]), -FARTHEST]
    upper = [size + FARTHEST, math.log(problem.exponents_G[-1]), FARTHEST]
    num_parameters = 3 if family.fixed_floor is None else 2
    return np.array(lower[:num_parameters]), np.array(upper[:num_parameters])
