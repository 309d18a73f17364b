"""Profile likelihood (Raue 2009): the least objective at every value of a parameter, the others refitted.

A parameter is bounded by the points on a side only where the profile rises above the threshold; where it stays below
up to the end of the form, the interval is open.  The threshold is that of the F test (exact for a linear parameter
under squares and normal noise).  For robust losses it is scaled by E psi**2 / E psi' (Heritier & Ronchetti 1994); where
clusters hold several points it is scaled by how much larger the cluster-robust variance of the parameter is than that
of independent points (Chandler & Bate 2007), with the degrees of freedom of that variance.

Shapes.  N points, P parameters, G values of the parameter, S starts of each.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import f as f_distribution

from analysis.fitting.descent import descend
from analysis.fitting.fit import Fit
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats
from analysis.intervals.asked import as_asked, problem_of
from analysis.intervals.clusters import Clusters, clusters_of, degrees_of_freedom, loss_slope
from analysis.intervals.interval import LEVEL, Interval, no_interval
from analysis.intervals.natural import ends_of, in_natural_units, natural
from analysis.intervals.wild import too_few

METHOD = "profile likelihood"
NEAR_STEPS, FAR_STEPS = (
    31,
    12,
)  # values within REACH standard errors, and on each side on to the end of the form
REACH = 4.0  # standard errors
REFINEMENTS, REFINED = 2, 9  # rounds of further values between those on either side of the threshold
STAGES = (100.0, 10.0, 1.0)  # times Huber's delta of the fit, on the way from the estimate to a held value
SWEEPS = 2  # times every value is tried from the minima of its neighbours
BETTER = (
    0.01  # share of the threshold's rise by which the profile must undercut the fit to call it into question
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The least objective at each value of a parameter, and the interval where it stays below the threshold."""

    parameter: str
    grid_G: Floats  # natural units, increasing
    objective_G: Floats  # sum of losses of the weighted residuals
    threshold: float  # objective at which the interval ends
    interval: Interval


def profile(fit: Fit, parameter: str, *, level: float = LEVEL) -> Profile:
    """The profile of one parameter; ValueError where the fit has no law or the form no such parameter."""
    fit = as_asked(fit)
    if parameter not in fit.form.parameters:
        raise ValueError(f"{fit.form.name} fits {fit.form.parameters}, not {parameter!r}.")
    index = fit.form.parameters.index(parameter)
    problem = problem_of(fit)
    clusters = clusters_of(fit, problem)
    valley = _Valley.of(fit, problem, clusters, index)
    rise, freedom = _rise(fit, clusters, index, level)
    theta_GP, objective_G = valley.minima(_grid(fit, clusters, index))
    for _ in range(REFINEMENTS):
        further_G = _between(theta_GP[:, index], objective_G, objective_G.min() + rise)
        theta_GP, objective_G = valley.refined(theta_GP, objective_G, further_G)
    grid_G, threshold = natural(fit, parameter, theta_GP[:, index]), float(objective_G.min()) + rise
    interval = no_interval(
        fit.found.value(parameter),
        level=level,
        method=METHOD,
        reason=_doubt(fit, clusters, valley.objective - float(objective_G.min()), rise),
    )
    if not interval.reason:
        lower, upper = _ends(theta_GP[:, index], objective_G, threshold)
        found = dataclasses.replace(interval, lower=lower, upper=upper, degrees_of_freedom=freedom)
        interval = in_natural_units(fit, parameter, found)
    order = np.argsort(grid_G, kind="stable")
    unit = clusters.huber_delta if fit.options.loss == "absolute" else 1.0
    return Profile(
        parameter=parameter,
        grid_G=grid_G[order],
        objective_G=objective_G[order] / unit,
        threshold=threshold / unit,
        interval=interval,
    )


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
class _Valley:
    """Minima over the other parameters, at many values of one at once."""

    pinned: _Pinned
    stages: tuple[float, ...]  # Huber deltas, the last the one of the fit
    estimate_P: Floats
    slope_P: (
        Floats  # change of the others per change of the pinned coordinate, along the valley at the estimate
    )
    objective: float  # at the estimate

    @classmethod
    def of(cls, fit: Fit, problem: Problem, clusters: Clusters, index: int) -> _Valley:
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


def _rise(fit: Fit, clusters: Clusters, index: int, level: float) -> tuple[float, float]:
    """How far above its minimum the objective is at the ends of the interval, and the degrees of freedom."""
    num_points, num_parameters = clusters.jacobian_NP.shape
    psi_N, slope = loss_slope(fit, clusters.residual_N)
    freedom = float(num_points - num_parameters)
    scale = float(np.sum(psi_N**2)) / freedom / max(slope, 1e-300)
    if len(clusters.labels) < num_points:
        direction_P = np.eye(num_parameters)[index]
        independent = (
            float(np.sum(clusters.pseudo_N**2)) / freedom * float(np.sum(clusters.inverse_PN[index] ** 2))
        )
        scale *= float(clusters.covariance()[index, index]) / independent
        freedom = degrees_of_freedom(clusters.loading(direction_P))
    return scale * float(f_distribution.ppf(level, 1, freedom)) / 2, freedom


def _grid(fit: Fit, clusters: Clusters, index: int) -> Floats:
    """Coordinates: closely around the estimate, then evenly on to both ends of the form."""
    lower, upper = ends_of(fit, fit.form.parameters[index])
    estimate = fit.found.theta[index]
    reach = REACH * float(np.sqrt(clusters.covariance()[index, index]))
    near = np.linspace(max(lower, estimate - reach), min(upper, estimate + reach), NEAR_STEPS)
    far = [np.linspace(lower, near[0], FAR_STEPS), np.linspace(near[-1], upper, FAR_STEPS)]
    return np.asarray(np.unique(np.concatenate([far[0], near, [estimate], far[1]])))


def _between(coordinate_G: Floats, objective_G: Floats, limit: float) -> Floats:
    """Further coordinates between the outermost pairs on either side of the limit."""
    below = np.flatnonzero(objective_G <= limit)
    pairs = [(below[0] - 1, below[0]), (below[-1], below[-1] + 1)]
    inside = [(low, high) for low, high in pairs if low >= 0 and high < len(coordinate_G)]
    further = [np.linspace(coordinate_G[low], coordinate_G[high], REFINED + 2)[1:-1] for low, high in inside]
    return np.asarray(np.concatenate([np.zeros(0), *further]))


def _ends(coordinate_G: Floats, objective_G: Floats, limit: float) -> tuple[float | None, float | None]:
    """Where the profile crosses the limit for the first and the last time; None where it ends below it."""
    below = np.flatnonzero(objective_G <= limit)
    ends: list[float | None] = []
    for inner, outer in ((below[0], below[0] - 1), (below[-1], below[-1] + 1)):
        if not 0 <= outer < len(coordinate_G):
            ends.append(None)
            continue
        share = (limit - objective_G[inner]) / (objective_G[outer] - objective_G[inner])
        ends.append(float(coordinate_G[inner] + share * (coordinate_G[outer] - coordinate_G[inner])))
    return ends[0], ends[1]


def _doubt(fit: Fit, clusters: Clusters, undercut: float, rise: float) -> str:
    """Why the profile gives no interval, or ""."""
    if undercut > BETTER * rise:
        return (
            f"the profile found an objective {undercut:.2g} below the fit's; fit again with more num_starts"
        )
    return too_few(fit.observations.num_clusters)
