"""From many starts to their minima, all at once: Levenberg-Marquardt on Huber's loss, inside the bounds of the form.

Shapes.  N points, P parameters, R descents.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.fitting.losses import huber, huber_weight
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats

Rows = npt.NDArray[np.int64]

MAX_STEPS = 400
LEAST_DAMPING, MOST_DAMPING = 1e-12, 1e12
FIRST_DAMPING, RELAXED, DAMPED = 1e-3, 0.2, 4.0  # at the start; factors after a better and a worse step
# damping from 1 / this on counts points beyond delta with the weight that majorises their loss
MAJORISED = 10.0
SMALL_STEP = 1e-11  # of theta: no digit that is printed changes any more
SMALL_GAIN = 1e-12  # of the objective


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Minima:
    """Where R descents ended."""

    theta_RP: Floats
    objective_R: Floats  # sum of losses of the weighted residuals
    gradient_R: Floats  # largest |derivative| by theta off the bounds, objective scaled to 1 for a constant
    num_steps: int


def descend(
    problem: Problem,
    theta_RP: Floats,
    *,
    delta_R: Floats | float = np.inf,
    target_RN: Floats | None = None,
    multiplicity_RN: Floats | None = None,
    max_steps: int = MAX_STEPS,
) -> Minima:
    """Minima of sum of multiplicity * huber(residual, delta), one per start, inside the form's bounds.

    `target_RN` gives each descent its own targets (wild bootstrap), `multiplicity_RN` its own counts of points
    (case deletion, resampling); delta of infinity is least squares.
    """
    delta_R = np.asarray(delta_R, dtype=float) * np.ones(len(theta_RP))
    slope = Landscape(
        problem=problem,
        delta_R=delta_R,
        target_RN=target_RN,
        multiplicity_RN=multiplicity_RN,
        bounds=problem.bounds,
    )
    theta_RP = np.clip(theta_RP, *slope.bounds)
    objective_R, damping_R = slope.objective(theta_RP), np.full(len(theta_RP), FIRST_DAMPING)
    active_R, step = np.ones(len(theta_RP), dtype=bool), 0
    for step in range(1, max_steps + 1):
        rows = np.flatnonzero(active_R)
        if not len(rows):
            break
        moved_RP = np.clip(theta_RP[rows] + slope.step(theta_RP[rows], damping_R[rows], rows), *slope.bounds)
        there_R = slope.objective(moved_RP, rows)
        gain_R, better_R = objective_R[rows] - there_R, there_R < objective_R[rows]
        length_R = np.abs(moved_RP - theta_RP[rows]).max(axis=1)
        theta_RP[rows[better_R]], objective_R[rows[better_R]] = moved_RP[better_R], there_R[better_R]
        damping_R[rows] = np.clip(
            damping_R[rows] * np.where(better_R, RELAXED, DAMPED), LEAST_DAMPING, MOST_DAMPING
        )
        still_R = better_R & (gain_R <= SMALL_GAIN * objective_R[rows]) | (length_R <= SMALL_STEP)
        active_R[rows[still_R | (damping_R[rows] >= MOST_DAMPING)]] = False
    gradient_R = np.abs(slope.gradient(theta_RP)).max(axis=1) / slope.constant_objective()
    return Minima(theta_RP=theta_RP, objective_R=objective_R, gradient_R=gradient_R, num_steps=step)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Landscape:
    """The objective of each descent, its gradient and its damped quadratic model."""

    problem: Problem
    delta_R: Floats
    target_RN: Floats | None = None
    multiplicity_RN: Floats | None = None
    bounds: tuple[Floats, Floats]

    def objective(self, theta_RP: Floats, rows: Rows | None = None) -> Floats:
        """Objectives [R] of the chosen descents at these theta."""
        chosen = np.arange(len(theta_RP)) if rows is None else rows
        residual_RN = self.problem.residuals(theta_RP, self._target(chosen))
        return np.asarray((huber(residual_RN, self.delta_R[chosen]) * self._multiplicity(chosen)).sum(axis=1))

    def step(self, theta_RP: Floats, damping_R: Floats, rows: Rows) -> Floats:
        """Steps [R, P]; parameters that are held at a bound stay there.

        Beyond delta Newton's curvature is 0 and the majorising one delta / |residual|: fast, and safe.  The damping
        says which.
        """
        residual_RN, jacobian_RNP = self.problem.linearised(theta_RP, self._target(rows))
        weight_RN = huber_weight(residual_RN, self.delta_R[rows])
        kept_RN = np.where(weight_RN < 1, np.minimum(1.0, MAJORISED * damping_R)[:, None], 1.0)
        weight_RN = weight_RN * self._multiplicity(rows)
        size_RP = np.sqrt(np.einsum("rn,rnp,rnp->rp", weight_RN, jacobian_RNP, jacobian_RNP)) + 1e-150
        scaled_RNP = jacobian_RNP / size_RP[:, None, :]
        gradient_RP = np.einsum("rn,rnp->rp", weight_RN * residual_RN, scaled_RNP)
        held_RP = self._outward(theta_RP, gradient_RP)
        free_RPP = ~(held_RP[:, :, None] | held_RP[:, None, :])
        curvature_RPP = np.swapaxes(scaled_RNP * (weight_RN * kept_RN)[..., None], 1, 2) @ scaled_RNP
        diagonal_RP = damping_R[:, None] + held_RP
        system_RPP = np.where(free_RPP, curvature_RPP, 0.0) + diagonal_RP[..., None] * np.eye(
            held_RP.shape[1]
        )
        downhill_RP = np.where(held_RP, 0.0, -gradient_RP)
        step_RP = np.linalg.solve(system_RPP, downhill_RP[..., None])[..., 0] / size_RP
        largest = self.problem.form.largest_step
        return np.asarray(np.clip(step_RP, -largest, largest))

    def gradient(self, theta_RP: Floats) -> Floats:
        """Derivatives [R, P] of the objectives, 0 where a bound holds a parameter."""
        rows = np.arange(len(theta_RP))
        residual_RN, jacobian_RNP = self.problem.linearised(theta_RP, self._target(rows))
        slope_RN = huber_weight(residual_RN, self.delta_R) * self._multiplicity(rows) * residual_RN
        gradient_RP = np.einsum("rn,rnp->rp", slope_RN, jacobian_RNP)
        return np.where(self._outward(theta_RP, gradient_RP), 0.0, gradient_RP)

    def constant_objective(self) -> Floats:
        """Objectives [R] of the median error: what a law has to beat."""
        flat_N = np.sqrt(self.problem.weight_N) * (self.problem.target_N - np.median(self.problem.target_N))
        flat_RN = np.broadcast_to(flat_N, (len(self.delta_R), len(flat_N)))
        return np.asarray(huber(flat_RN, self.delta_R).sum(axis=1) + 1e-300)

    def _outward(self, theta_RP: Floats, gradient_RP: Floats) -> npt.NDArray[np.bool_]:
        """Where [R, P] the objective falls beyond a bound."""
        lower_P, upper_P = self.bounds
        return np.asarray(
            ((theta_RP <= lower_P) & (gradient_RP > 0)) | ((theta_RP >= upper_P) & (gradient_RP < 0))
        )

    def _target(self, rows: Rows) -> Floats | None:
        return None if self.target_RN is None else self.target_RN[rows]

    def _multiplicity(self, rows: Rows) -> Floats | float:
        return 1.0 if self.multiplicity_RN is None else self.multiplicity_RN[rows]
