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
ROUNDING = 1e-16  # of the objective of a constant: gains below it are rounding
PRECISE = 1e-13  # remaining gain at which no step is worth it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Polished:
    """A minimum to the last digits."""

    theta_P: Floats
    objective: float
    remaining_gain: float  # of the objective, as a share of it, that the quadratic model still promises


def polish(problem: Problem, theta_P: Floats, delta: float) -> Polished:
    """The minimum next to a theta that is all but there; steps that do not improve are not made."""
    landscape = Landscape(problem=problem, delta_R=np.full(1, delta), bounds=problem.bounds)
    objective = float(landscape.objective(theta_P[None])[0])
    rounding = ROUNDING * float(landscape.constant_objective()[0])
    step_P, promised = _newton(landscape, theta_P)
    for _ in range(MAX_STEPS):
        if promised <= PRECISE * objective + rounding:
            break
        moved_SP = np.clip(theta_P + SHARES[:, None] * step_P, *problem.bounds)
        there_S = landscape.objective(moved_SP, np.zeros(len(SHARES), dtype=np.int64))
        best = int(np.argmin(there_S))
        if not there_S[best] < objective:
            promised *= SHARES[
                -1
            ]  # downhill it is: where no share of it helps, the ground bends up that much sooner
            break
        theta_P, objective = moved_SP[best], float(there_S[best])
        step_P, promised = _newton(landscape, theta_P)
    return Polished(
        theta_P=theta_P, objective=objective, remaining_gain=promised / (objective + rounding + 1e-300)
    )


def _newton(landscape: Landscape, theta_P: Floats) -> tuple[Floats, float]:
    """Newton's step [P] among the parameters off their bounds, downhill in every direction, and the gain it promises."""
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
