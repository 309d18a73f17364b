"""Wild cluster bootstrap: the fit repeated with the noise of whole clusters flipped, the design staying as it is.

Targets of a refit are predictions + sign of the cluster x residuals corrected for leverage (Cameron, Gelbach & Miller
2008; MacKinnon & White 1985), fitted from the estimate on with the loss of the fit, so that points that differ in
noise do so in the refits (Feng, He & Hu 2011 for absolute values).  Two fits that share clusters (two objectives on
the same cells) share signs by `Draws`.

Shapes.  N points, P parameters, R refits, L labels, M points of a curve.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from analysis.fitting.fit import GRADIENT_TOLERANCE, Fit
from analysis.fitting.problem import target
from analysis.forms.form import Floats
from analysis.intervals.asked import as_asked, problem_of
from analysis.intervals.clusters import Clusters, clusters_of, degrees_of_freedom
from analysis.intervals.draws import NUM_REFITS, Draws, wild_draws
from analysis.intervals.interval import LEVEL, Band, Interval, no_band, no_interval
from analysis.intervals.natural import beyond_bounds, in_natural_units, natural, within_bounds
from analysis.intervals.refitting import refitted
from analysis.intervals.refusals import MIN_CLUSTERS, determined_alone, many_failed, too_few
from analysis.intervals.spread import (
    Scale,
    as_errors,
    band_from_draws,
    interval_from_draws,
    with_run_variance,
)

__all__ = ["MIN_CLUSTERS", "NUM_REFITS", "Draws", "Quantity", "Refits", "refit", "too_few", "wild_draws"]

METHOD = "wild cluster bootstrap"

Quantity = Callable[[Floats], Floats]  # theta_RP -> values [R], or [R, M] of a curve


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Refits:
    """The laws of the refits, and intervals of whatever they imply; or the reason why nothing is stated."""

    fit: Fit  # in the form asked for: `theta_RP` is of its form
    theta_RP: Floats  # rows of failed refits are where they stopped; no rows when there is a reason
    failed_R: npt.NDArray[np.bool_]  # did not reach a minimum; left out of every interval
    bound_shares: Mapping[str, float]  # share of the refits that ended at a bound of the form, by parameter
    num_clusters: int
    clusters: Clusters | None  # leverage and degrees of freedom; None without a law
    reason: str = ""  # in words, why there are no intervals

    @property
    def failed_share(self) -> float:
        """Share of the refits that reached no minimum; 0 if none was tried."""
        return float(np.mean(self.failed_R)) if len(self.failed_R) else 0.0

    @property
    def kept_RP(self) -> Floats:
        """theta of the refits that reached a minimum."""
        return np.asarray(self.theta_RP[~self.failed_R])

    @property
    def estimate_1P(self) -> Floats:
        """theta of the fit itself, as one row."""
        return np.asarray([self.fit.found.theta])

    def interval(self, quantity: Quantity, *, scale: Scale = "linear", level: float = LEVEL) -> Interval:
        """The interval of one number of a law, with Satterthwaite's degrees of freedom for it."""
        estimate = float(quantity(self.estimate_1P)[0])
        if self.reason:
            return no_interval(estimate, level=level, method=METHOD, reason=self.reason)
        return interval_from_draws(
            estimate,
            quantity(self.kept_RP),
            degrees_of_freedom=float(self.degrees_of_freedom(quantity)[0]),
            method=METHOD,
            scale=scale,
            level=level,
        )

    def parameter(self, name: str, *, level: float = LEVEL) -> Interval:
        """The interval of a parameter in natural units, from its coordinate; open where refits run into its bound."""
        names = self.fit.form.parameters
        if name not in names:
            raise ValueError(f"{self.fit.form.name} fits {names}, not {name!r}.")
        index = names.index(name)
        estimate = self.fit.found.value(name)
        if self.reason:
            return no_interval(estimate, level=level, method=METHOD, reason=self.reason)
        freedom = float(self.degrees_of_freedom(lambda theta_RP: theta_RP[:, index])[0])
        coordinate_R = beyond_bounds(self.fit, self.kept_RP)[:, index]
        if name in self.fit.form.limits:  # it may be 0, where its coordinate is no scale to measure spread on
            finite_R = np.isfinite(coordinate_R)
            value_R = np.where(finite_R, natural(self.fit, name, self.kept_RP[:, index]), coordinate_R)
            found = interval_from_draws(
                estimate, value_R, degrees_of_freedom=freedom, method=METHOD, level=level
            )
            return within_bounds(self.fit, name, found)
        found = interval_from_draws(
            self.fit.found.theta[index], coordinate_R, degrees_of_freedom=freedom, method=METHOD, level=level
        )
        return in_natural_units(self.fit, name, found)

    def curve(
        self, quantity: Quantity, *, simultaneous: bool = False, scale: Scale = "linear", level: float = LEVEL
    ) -> Band:
        """The band of a curve (`quantity` maps theta_RP to values [R, M]), pointwise or for the whole of it."""
        estimate_M = quantity(self.estimate_1P)[0]
        if self.reason:
            return no_band(
                estimate_M, level=level, method=METHOD, simultaneous=simultaneous, reason=self.reason
            )
        return band_from_draws(
            estimate_M,
            quantity(self.kept_RP),
            degrees_of_freedom_M=self.degrees_of_freedom(quantity),
            method=METHOD,
            simultaneous=simultaneous,
            scale=scale,
            level=level,
        )

    def new_run(self, quantity: Quantity, *, level: float = LEVEL) -> Band:
        """The pointwise band in which one more run of average weight is expected: curve and run variance together.

        `quantity` maps theta_RP to errors [R, M]; the two are added on the scale of the fit's residuals.
        """
        residual = self.fit.options.residual
        band = self.curve(lambda theta_RP: target(residual, quantity(theta_RP)), level=level)
        if not band.reason:
            assert self.clusters is not None, "a band has clusters"
            band = with_run_variance(band, self.clusters.noise_variance, self.num_clusters - 1)
        return as_errors(residual, band)

    def gradient(self, quantity: Quantity) -> Floats:
        """Derivatives [M, P] of a quantity by theta at the estimate (M = 1 for a number), by central differences."""
        theta_P = self.estimate_1P[0]
        step_PP = np.diag(1e-5 * np.maximum(1.0, np.abs(theta_P)))
        values = quantity(np.concatenate([theta_P + step_PP, theta_P - step_PP])).reshape(2, len(theta_P), -1)
        return np.asarray((values[0] - values[1]).T / (2 * np.diag(step_PP)))

    def degrees_of_freedom(self, quantity: Quantity) -> Floats:
        """Satterthwaite's degrees of freedom [M] of a quantity, at most clusters - 1."""
        assert self.clusters is not None, "a fit with a law has clusters"
        return np.asarray(
            [degrees_of_freedom(self.clusters.loading(row_P)) for row_P in self.gradient(quantity)]
        )


def refit(fit: Fit, *, num_refits: int = NUM_REFITS, seed: int = 0, draws: Draws | None = None) -> Refits:
    """Refits of a fit to its own flipped noise; no intervals, and why, where there are too few clusters.

    `fit` of the result, and theta, are in the form that was asked for.  `draws` (for the union of the clusters of the
    fits that share them) replaces `num_refits` and `seed`.
    """
    fit, num_clusters = as_asked(fit), fit.observations.num_clusters
    nothing = Refits(
        fit=fit,
        theta_RP=np.zeros((0, len(fit.form.parameters))),
        failed_R=np.zeros(0, dtype=bool),
        bound_shares={},
        num_clusters=num_clusters,
        clusters=None,
        reason=f"no law is stated ({fit.status.value.replace('_', ' ')}): {fit.reason}",
    )
    if fit.law is None:
        return nothing
    problem = problem_of(fit)
    clusters = clusters_of(fit, problem)
    reason = too_few(num_clusters) or determined_alone(clusters)
    if reason:
        return dataclasses.replace(nothing, clusters=clusters, reason=reason)
    draws = wild_draws(clusters.labels, num_refits, seed) if draws is None else draws
    minima = refitted(fit, problem, clusters, draws.of(fit.observations.clusters))
    failed_R = minima.gradient_R > GRADIENT_TOLERANCE
    return dataclasses.replace(
        nothing,
        theta_RP=minima.theta_RP,
        failed_R=failed_R,
        bound_shares=_bound_shares(fit, minima.theta_RP),
        clusters=clusters,
        reason=many_failed(float(np.mean(failed_R))),
    )


def _bound_shares(fit: Fit, theta_RP: Floats) -> dict[str, float]:
    share_P = np.mean(~np.isfinite(beyond_bounds(fit, theta_RP)), axis=0)
    return {name: float(share) for name, share in zip(fit.form.parameters, share_P, strict=True)}
