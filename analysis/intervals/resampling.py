"""Nonparametric bootstrap: refits to points, or clusters, drawn with replacement.

For reproducing published intervals (Besiroglu 2024); for a study of few cells the wild bootstrap keeps the design.

Shapes.  N points, G clusters, P parameters, R refits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.fitting.descent import descend
from analysis.fitting.fit import GRADIENT_TOLERANCE, Fit
from analysis.forms.form import Floats
from analysis.intervals.asked import as_asked, problem_of
from analysis.intervals.clusters import clusters_of
from analysis.intervals.interval import LEVEL, Interval

Unit = Literal["points", "clusters"]
AT_ONCE = 500  # refits whose residuals and derivatives are in memory together


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Resamples:
    """The laws of the resamples."""

    fit: Fit
    unit: Unit
    theta_RP: Floats
    failed_R: npt.NDArray[np.bool_]  # did not reach a minimum; left out of every interval

    def interval(self, quantity: Callable[[Floats], Floats], *, level: float = LEVEL) -> Interval:
        """Percentile interval of one number of a law (theta_RP -> values [R])."""
        values_R = quantity(self.theta_RP[~self.failed_R])
        lower, upper = np.quantile(values_R, [(1 - level) / 2, (1 + level) / 2])
        failed = f"{int(self.failed_R.sum())} of {len(self.failed_R)} refits reached no minimum"
        return Interval(
            estimate=float(quantity(np.asarray([self.fit.found.theta]))[0]),
            lower=float(lower),
            upper=float(upper),
            level=level,
            method=f"percentiles of refits to {self.unit} drawn with replacement",
            reason=failed if self.failed_R.any() else "",
        )


def resample(fit: Fit, *, num_refits: int, seed: int = 0, unit: Unit = "points") -> Resamples:
    """Refits to as many points or clusters as there are, drawn with replacement; ValueError without a law."""
    fit = as_asked(fit)
    problem = problem_of(fit)
    delta = clusters_of(fit, problem).huber_delta
    multiplicity_RN = _multiplicity(fit, num_refits, seed, unit)
    parts = [
        descend(
            problem,
            np.tile(fit.found.theta, (len(part_RN), 1)),
            delta_R=delta,
            multiplicity_RN=part_RN,
        )
        for part_RN in np.split(multiplicity_RN, range(AT_ONCE, num_refits, AT_ONCE))
    ]
    gradient_R = np.concatenate([part.gradient_R for part in parts])
    return Resamples(
        fit=fit,
        unit=unit,
        theta_RP=np.concatenate([part.theta_RP for part in parts]),
        failed_R=gradient_R > GRADIENT_TOLERANCE,
    )


def _multiplicity(fit: Fit, num_refits: int, seed: int, unit: Unit) -> Floats:
    """How often each point is in each resample [R, N]."""
    rng = np.random.default_rng(seed)
    cluster_N = fit.observations.cluster_N if unit == "clusters" else np.arange(len(fit.observations))
    count = int(cluster_N.max()) + 1
    draws_RG = rng.multinomial(count, np.full(count, 1 / count), size=num_refits)
    return np.asarray(draws_RG[:, cluster_N], dtype=np.float64)
