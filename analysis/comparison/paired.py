"""The frontiers of two objectives with paired draws: estimate, joint spread, and how heavy its tails are.

Clusters that both objectives have are flipped together, so that noise they share (a cell that suits any objective)
cancels in every difference; clusters of one objective only are flipped alone.

Shapes.  G compute values, R refits, P parameters, C clusters, N points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from analysis.comparison.reference import equivalent_degrees_of_freedom
from analysis.comparison.side import Side, shared_range
from analysis.fitting.fit import Fit
from analysis.forms.form import Floats
from analysis.frontier import Menu, beyond_samples, frontier_errors
from analysis.intervals.wild import Refits, refit, wild_draws

STEP = 0.05  # of ln compute between two points of the grid: far below what any law can change in
REACH = 10.0  # times the largest compute trained: frontiers are not believed beyond it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PairedFrontiers:
    """Least errors of both objectives on one compute grid, and their deviations in the refits that both kept."""

    compute_G: Floats
    studied_G: Floats
    rival_G: Floats
    studied_RG: Floats  # deviations of the refits from the estimates
    rival_RG: Floats
    studied_refits: Refits
    rival_refits: Refits
    studied_beyond_G: npt.NDArray[np.bool_]  # the best tower is trained for more samples than any of its runs
    rival_beyond_G: npt.NDArray[np.bool_]
    studied_menu: Callable[[Floats], Floats]  # theta_RP -> errors [R, G]
    rival_menu: Callable[[Floats], Floats]

    @property
    def reason(self) -> str:
        """Why there are no intervals, or ""."""
        return self.studied_refits.reason or self.rival_refits.reason

    def spread(self, studied: int | slice, rival: int) -> Floats:
        """Standard errors of studied error at some computes minus the rival's error at one."""
        deviation_RK = self.studied_RG[:, studied] - self.rival_RG[:, rival, None]
        return np.asarray(np.sqrt(np.mean(deviation_RK**2, axis=0)))


def paired_frontiers(
    studied: Side, rival: Side, compute_G: Floats, *, num_refits: int, seed: int
) -> PairedFrontiers:
    """Both frontiers of two sides that have laws, refitted with one set of draws."""
    labels = (*studied.fit.observations.clusters, *rival.fit.observations.clusters)
    draws = wild_draws(labels, num_refits, seed)
    fits = (studied.asked, rival.asked)
    refits = [refit(fit, draws=draws) for fit in fits]
    curves = [errors_of(fit, side.menu, compute_G) for fit, side in zip(fits, (studied, rival), strict=True)]
    estimates = [curve(np.asarray([fit.found.theta]))[0] for fit, curve in zip(fits, curves, strict=True)]
    deviations = [np.zeros((0, len(compute_G)))] * 2
    if not any(found.reason for found in refits):
        kept_R = ~(refits[0].failed_R | refits[1].failed_R)
        deviations = [
            curve(found.theta_RP[kept_R]) - estimate_G
            for curve, found, estimate_G in zip(curves, refits, estimates, strict=True)
        ]
    return PairedFrontiers(
        compute_G=compute_G,
        studied_G=estimates[0],
        rival_G=estimates[1],
        studied_RG=deviations[0],
        rival_RG=deviations[1],
        studied_refits=refits[0],
        rival_refits=refits[1],
        studied_beyond_G=_beyond(studied, compute_G),
        rival_beyond_G=_beyond(rival, compute_G),
        studied_menu=curves[0],
        rival_menu=curves[1],
    )


def _beyond(side: Side, compute_G: Floats) -> npt.NDArray[np.bool_]:
    if side.fit.form.covariates == ("train_flops",):
        return np.zeros(len(compute_G), dtype=bool)
    return beyond_samples(side.fit.found, side.menu, compute_G)


def errors_of(fit: Fit, menu: Menu, compute_G: Floats) -> Callable[[Floats], Floats]:
    """The frontier of a fit as a function of theta_RP, with errors [R, G]."""
    return lambda theta_RP: frontier_errors(fit.form, theta_RP, fit.found.references, menu, compute_G)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tails:
    """Degrees of freedom of differences between the two frontiers, each from the clusters that carry it."""

    studied_GP: Floats  # derivatives of the frontiers by theta
    rival_GP: Floats
    frontiers: PairedFrontiers
    level: float

    @classmethod
    def of(cls, frontiers: PairedFrontiers, level: float) -> Tails:
        """The tails at a confidence level."""
        return cls(
            studied_GP=frontiers.studied_refits.gradient(frontiers.studied_menu),
            rival_GP=frontiers.rival_refits.gradient(frontiers.rival_menu),
            frontiers=frontiers,
            level=level,
        )

    def degrees_of_freedom(self, studied: int, rival: int) -> float:
        """Of studied error at one compute minus rival error at another."""
        sides = (
            (self.frontiers.studied_refits, self.studied_GP[studied]),
            (self.frontiers.rival_refits, -self.rival_GP[rival]),
        )
        loadings = []
        for refits, gradient_P in sides:
            assert refits.clusters is not None, "sides with laws have clusters"
            loadings.append((refits.clusters.labels, refits.clusters.loading(gradient_P)))
        return equivalent_degrees_of_freedom(_joined(loadings), self.level)

    def quantile(self, studied: int, rival: int) -> float:
        """How many standard errors the difference may be from the truth."""
        return float(t.ppf((1 + self.level) / 2, self.degrees_of_freedom(studied, rival)))


def _joined(loadings: list[tuple[tuple[str, ...], Floats]]) -> Floats:
    """Loadings [C, N] of the union of clusters on the points of both sides."""
    labels = sorted(set().union(*(names for names, _ in loadings)))
    parts = []
    for names, loading_CN in loadings:
        part_CN = np.zeros((len(labels), loading_CN.shape[1]))
        part_CN[[labels.index(name) for name in names]] = loading_CN
        parts.append(part_CN)
    return np.concatenate(parts, axis=1)


def compute_grid(studied: Side, rival: Side) -> Floats:
    """Evenly spread ln compute, REACH beyond the computes of both; the largest compute that both have is on it."""
    ends = np.log([*studied.compute_range, *rival.compute_range])
    anchor = np.log(shared_range(studied, rival)[1])
    num_below = int(np.ceil((anchor - ends.min() + np.log(REACH)) / STEP))
    num_above = int(np.ceil((ends.max() + np.log(REACH) - anchor) / STEP))
    return np.asarray(np.exp(anchor + STEP * np.arange(-num_below, num_above + 1)))
