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

from analysis.fitting.fit import Fit
from analysis.forms.form import Floats
from analysis.intervals.asked import as_asked, problem_of
from analysis.intervals.clusters import Clusters, clusters_of, degrees_of_freedom, loss_slope
from analysis.intervals.interval import LEVEL, Interval, no_interval
from analysis.intervals.natural import ends_of, in_natural_units, natural
from analysis.intervals.refusals import too_few
from analysis.intervals.valley import Valley

METHOD = "profile likelihood"
# values within REACH standard errors, and on each side on to the end of the form
NEAR_STEPS, FAR_STEPS = 31, 12
REACH = 4.0  # standard errors
REFINEMENTS, REFINED = 2, 9  # rounds of further values between those on either side of the threshold
# share of the threshold's rise by which the profile must undercut the fit to call it into question
BETTER = 0.01


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
    valley = Valley.of(fit, problem, clusters, index)
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
