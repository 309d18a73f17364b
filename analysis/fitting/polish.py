"""Newton's method at the end of a descent: the last digits, and how much the objective could still fall.

Shapes.  P parameters, F of them off their bounds, S shares of a step.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.fitting.descent import Landscape
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats

MAX_STEPS = 12
SHARES = 4.0 ** -np.arange(10)  # of Newton's step that are tried
DIFFERENCE = 1e-5  # of theta: derivatives of the gradient by central differences
FLAT = 1e-14  # curvatures below it, relative to the largest, are those of a flat direction
# of targets, and so of residuals: gains that it can feign are none
ROUNDING = 4 * float(np.finfo(np.float64).eps)
PRECISE = 1e-13  # remaining gain at which no step is worth it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Polished:
    """A minimum to the last digits."""

    theta_P: Floats
    objective: float
    remaining_gain: float  # share of the objective that the quadratic model still promises, beyond rounding


def polish(problem: Problem, theta_P: Floats, delta: float) -> Polished:
    """The minimum next to a theta that is all but there; steps that do not improve are not made."""
    landscape = Landscape(problem=problem, delta_R=np.full(1, delta), bounds=problem.bounds)
    objective = float(landscape.objective(theta_P[None])[0])
    size_N = np.sqrt(problem.weight_N) * problem.target_N
    rounding = ROUNDING * float(
        landscape.constant_objective()[0] + np.sqrt(objective) * np.linalg.norm(size_N)
    )
    step_P, promised = _newton(landscape, theta_P)
    for _ in range(MAX_STEPS):
        if promised <= PRECISE * objective + rounding:
            break
        moved_SP = np.clip(theta_P + SHARES[:, None] * step_P, *problem.bounds)
        there_S = landscape.objective(moved_SP, np.zeros(len(SHARES), dtype=np.int64))
        best = int(np.argmin(there_S))
        if not there_S[best] < objective:
            # downhill as it is, the ground bends up that much sooner than was promised
            promised *= SHARES[-1]
            break
        theta_P, objective = moved_SP[best], float(there_S[best])
        step_P, promised = _newton(landscape, theta_P)
    gain = promised / (objective + 1e-300) if promised > rounding else 0.0
    return Polished(theta_P=theta_P, objective=objective, remaining_gain=gain)


def _newton(landscape: Landscape, theta_P: Floats) -> tuple[Floats, float]:
    """Newton's step [P] of the parameters off their bounds, downhill in every direction, and the gain it promises."""
    gradient_P = landscape.gradient(theta_P[None])[0]
    free = np.flatnonzero(gradient_P)
    step_P = np.zeros_like(theta_P)
    if not len(free):
        return step_P, 0.0
    offset_FP = DIFFERENCE * np.eye(len(theta_P))[free]
    around = dataclasses.replace(landscape, delta_R=np.full(2 * len(free), landscape.delta_R[0]))
    slope_FP = around.gradient(np.concatenate([theta_P + offset_FP, theta_P - offset_FP]))
    hessian_FF = ((slope_FP[: len(free)] - slope_FP[len(free) :]) / (2 * DIFFERENCE))[:, free]
    curvature_F, direction_FF = np.linalg.eigh((hessian_FF + hessian_FF.T) / 2)
    steepness_F = np.maximum(np.abs(curvature_F), FLAT * np.abs(curvature_F).max() + 1e-300)
    along_F = direction_FF.T @ gradient_P[free]
    step_P[free] = -direction_FF @ (along_F / steepness_F)
    return step_P, float(np.sum(along_F**2 / steepness_F) / 2)
