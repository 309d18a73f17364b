"""The valley of a profile: minima over all parameters but one, at many values of that one at once.

Shapes.  N points, P parameters, G values of the pinned coordinate, H further ones, R laws.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.fitting.descent import descend
from analysis.fitting.fit import Fit
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats
from analysis.intervals.clusters import Clusters

STAGES = (100.0, 10.0, 1.0)  # times Huber's delta of the fit, on the way from the estimate to a held value
SWEEPS = 1  # times every value is tried from the minima of its neighbours


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Pinned(Problem):
    """The same problem with derivatives of 0 by one coordinate, so that no descent moves it."""

    index: int

    def linearised(self, theta_RP: Floats, target_RN: Floats | None = None) -> tuple[Floats, Floats]:
        """Weighted residuals [R, N] and their derivatives [R, N, P], 0 by the pinned coordinate."""
        residual_RN, derivative_RNP = Problem.linearised(self, theta_RP, target_RN)
        derivative_RNP = derivative_RNP.copy()
        derivative_RNP[..., self.index] = 0.0
        return residual_RN, derivative_RNP


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Valley:
    """Minima over the other parameters, at many values of one at once."""

    pinned: _Pinned
    stages: tuple[float, ...]  # Huber deltas, the last the one of the fit
    estimate_P: Floats
    slope_P: Floats  # change of the others per change of the pinned one, along the valley at the estimate
    objective: float  # at the estimate

    @classmethod
    def of(cls, fit: Fit, problem: Problem, clusters: Clusters, index: int) -> Valley:
        """The valley through the estimate."""
        covariance_PP = clusters.inverse_PN @ clusters.inverse_PN.T
        fields = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
        delta = clusters.huber_delta
        theta_1P = np.asarray([fit.found.theta])
        return cls(
            pinned=_Pinned(**fields, index=index),
            stages=tuple(delta * wider for wider in STAGES),
            estimate_P=theta_1P[0],
            slope_P=covariance_PP[:, index] / covariance_PP[index, index],
            objective=float(descend(problem, theta_1P.copy(), delta_R=delta, max_steps=0).objective_R[0]),
        )

    def minima(self, coordinate_G: Floats) -> tuple[Floats, Floats]:
        """Minima theta [G, P] with the coordinate at each value, and their objectives [G]."""
        theta_GP = np.tile(self.estimate_P, (len(coordinate_G), 1))
        along_GP = theta_GP + (coordinate_G - self.estimate_P[self.pinned.index])[:, None] * self.slope_P
        for stage in self.stages[:-1]:
            theta_GP = self._descended(theta_GP, coordinate_G, stage)[0]
        found = self._better(self._descended(theta_GP, coordinate_G), self._descended(along_GP, coordinate_G))
        return self._swept(*found)

    def refined(self, theta_GP: Floats, objective_G: Floats, further_H: Floats) -> tuple[Floats, Floats]:
        """The minima with those at further values between them, in order."""
        if not len(further_H):
            return theta_GP, objective_G
        nearest_H = np.abs(theta_GP[:, self.pinned.index] - further_H[:, None]).argmin(axis=1)
        theta_HP, objective_H = self._descended(theta_GP[nearest_H], further_H)
        theta_GP, objective_G = np.concatenate([theta_GP, theta_HP]), np.append(objective_G, objective_H)
        order = np.argsort(theta_GP[:, self.pinned.index], kind="stable")
        return theta_GP[order], objective_G[order]

    def _swept(self, theta_GP: Floats, objective_G: Floats) -> tuple[Floats, Floats]:
        for _ in range(SWEEPS):
            for neighbour_GP in (np.roll(theta_GP, 1, axis=0), np.roll(theta_GP, -1, axis=0)):
                tried = self._descended(neighbour_GP, theta_GP[:, self.pinned.index])
                theta_GP, objective_G = self._better((theta_GP, objective_G), tried)
        return theta_GP, objective_G

    def _descended(
        self, theta_GP: Floats, coordinate_G: Floats, delta: float | None = None
    ) -> tuple[Floats, Floats]:
        """Minima [G, P] and objectives [G] from these starts, with the delta of the fit unless another is given."""
        theta_GP = theta_GP.copy()
        theta_GP[:, self.pinned.index] = coordinate_G
        minima = descend(self.pinned, theta_GP, delta_R=self.stages[-1] if delta is None else delta)
        return minima.theta_RP, minima.objective_R

    @staticmethod
    def _better(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        better_G = second[1] < first[1]
        return np.where(better_G[:, None], second[0], first[0]), np.where(better_G, second[1], first[1])
