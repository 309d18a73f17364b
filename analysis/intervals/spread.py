"""From the values of a quantity in many refits to its interval, and from many curves to a band.

An end is the estimate -+ t times the spread of the refits on that side: their root mean square distance, on the
scale ("linear" or "log") where the quantity is closer to normal.  Squares rather than percentiles, because with few
clusters the refits are few distinct values; by side, because laws are curved.

Shapes.  R refits, M points of a curve.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from scipy.special import expit
from scipy.stats import norm, t

from analysis.fitting.options import Residual
from analysis.forms.form import Floats
from analysis.intervals.interval import LEVEL, OPEN, Band, Interval, no_band

Scale = Literal["linear", "log"]
# of the refits; with fewer on one side of the estimate there is no spread to speak of
MIN_SHARE_PER_SIDE = 0.02


def interval_from_draws(
    estimate: float,
    value_R: Floats,
    *,
    degrees_of_freedom: float,
    method: str,
    scale: Scale = "linear",
    level: float = LEVEL,
) -> Interval:
    """The interval of a quantity; a side is open where more refits than its tail holds are infinite."""
    band = band_from_draws(
        np.asarray([estimate]),
        value_R[:, None],
        degrees_of_freedom_M=np.asarray([degrees_of_freedom]),
        method=method,
        scale=scale,
        level=level,
    )
    interval = dataclasses.replace(band.at(0), degrees_of_freedom=degrees_of_freedom)
    if not interval.reason and not interval.identified:
        return dataclasses.replace(interval, reason=OPEN)
    return interval


def band_from_draws(
    estimate_M: Floats,
    value_RM: Floats,
    *,
    degrees_of_freedom_M: Floats,
    method: str,
    simultaneous: bool = False,
    scale: Scale = "linear",
    level: float = LEVEL,
) -> Band:
    """The band of a curve: for each point alone, or for all at once by the sup-t of the refits.

    Simultaneous: the spreads are multiplied by what the largest standardised distance of a refit along the curve
    stays below in `level` of the refits (Montiel Olea & Plagborg-Moller 2019), taken to t at equal probability.
    ValueError for values that are not numbers, or not positive on a log scale.
    """
    centre_M, drawn_RM = _on_scale(scale, estimate_M), _on_scale(scale, value_RM)
    distance_RM = drawn_RM - centre_M
    sides = _sides(distance_RM, (1 - level) / 2)
    if sides is None:
        reason = "nearly all refits lie on one side of the estimate: the law is too curved for an interval"
        return no_band(estimate_M, level=level, method=method, simultaneous=simultaneous, reason=reason)
    below_M, above_M = sides
    factor_M = np.asarray(t.ppf((1 + level) / 2, degrees_of_freedom_M))
    if simultaneous:
        sup_R = np.maximum(_share(-distance_RM, below_M), _share(distance_RM, above_M)).max(axis=1)
        factor_M = np.asarray(t.isf(norm.sf(np.quantile(sup_R, level)), degrees_of_freedom_M))
    return Band(
        estimate_M=estimate_M,
        lower_M=_off_scale(scale, centre_M - factor_M * below_M),
        upper_M=_off_scale(scale, centre_M + factor_M * above_M),
        level=level,
        method=method,
        simultaneous=simultaneous,
    )


def with_run_variance(band: Band, variance: float, degrees_of_freedom: float) -> Band:
    """The band widened by the spread of one more run; band and variance are on the scale of the residuals."""
    reach = float(t.ppf((1 + band.level) / 2, degrees_of_freedom)) * np.sqrt(variance)
    return dataclasses.replace(
        band,
        lower_M=band.estimate_M - np.hypot(band.estimate_M - band.lower_M, reach),
        upper_M=band.estimate_M + np.hypot(band.upper_M - band.estimate_M, reach),
        method=f"{band.method}, with the spread of a new run",
    )


def as_errors(residual: Residual, band: Band) -> Band:
    """A band on the scale of the residuals as one of errors."""
    return dataclasses.replace(
        band,
        estimate_M=_error(residual, band.estimate_M),
        lower_M=_error(residual, band.lower_M),
        upper_M=_error(residual, band.upper_M),
    )


def _error(residual: Residual, target_M: Floats) -> Floats:
    if residual == "log_error":
        return np.asarray(np.exp(target_M))
    return np.asarray(expit(target_M)) if residual == "logit_error" else target_M


def _sides(distance_RM: Floats, tail: float) -> tuple[Floats, Floats] | None:
    """Root mean square of the distances below and above 0 [M] each, inf where open; None where a side is missing."""
    sides = []
    for side_RM in (-distance_RM, distance_RM):
        open_M = np.mean(np.isposinf(side_RM), axis=0) > tail
        there_RM = np.isfinite(side_RM) & (side_RM > 0)
        share_M = there_RM.mean(axis=0)
        if np.any((share_M < MIN_SHARE_PER_SIDE) & ~open_M & np.any(distance_RM != 0, axis=0)):
            return None
        squared_M = np.where(there_RM, side_RM, 0.0) ** 2
        spread_M = np.sqrt(squared_M.mean(axis=0) / np.maximum(share_M, 1 / len(side_RM)))
        sides.append(np.where(open_M, np.inf, spread_M))
    return sides[0], sides[1]


def _share(side_RM: Floats, spread_M: Floats) -> Floats:
    """Distances in units of the spread of their side; 0 on the other side and where the side is open."""
    return np.asarray(
        np.maximum(np.where(np.isfinite(side_RM), side_RM, 0.0), 0.0) / np.maximum(spread_M, 1e-300)
    )


def _on_scale(scale: Scale, values: Floats) -> Floats:
    if np.any(np.isnan(values)) or (scale == "log" and np.any(values < 0)):
        raise ValueError(
            f"refits give values that are not numbers or, for scale log, below 0: {values.ravel()[:5]}."
        )
    if scale == "linear":
        return values
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values))


def _off_scale(scale: Scale, values_M: Floats) -> Floats:
    return np.asarray(np.exp(values_M)) if scale == "log" else values_M
