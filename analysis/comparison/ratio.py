"""How much compute the studied objective needs, of what the rival needs, for the error the rival reaches.

r(C) = C_studied(e_rival(C)) / C.  Its confidence set is Fieller's (1954): all r at which the studied error at r C and
the rival's error at C cannot be told apart; a flat or undetermined frontier gives an open set, (0, inf) at worst.

Shapes.  G compute values of the grid, M of the band, R refits.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.comparison.paired import PairedFrontiers, Tails
from analysis.forms.form import Floats
from analysis.intervals.interval import Interval

METHOD = "paired wild cluster bootstrap, Fieller set"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RatioBand:
    """The ratio along compute, pointwise; a lower end of 0 or an upper end of inf is open.

    An estimate of inf (0) says that the studied frontier does not reach (is always below) the rival's error within
    the computes that are believed.
    """

    compute_M: Floats
    estimate_M: Floats
    lower_M: Floats
    upper_M: Floats
    extrapolated_M: npt.NDArray[np.bool_]  # the estimate uses a frontier beyond its points
    level: float
    method: str = METHOD
    reason: str = ""  # in words, why there are no ends

    @property
    def identified_M(self) -> npt.NDArray[np.bool_]:
        """Where both ends are closed."""
        return np.asarray((self.lower_M > 0) & np.isfinite(self.upper_M))

    @property
    def decided_M(self) -> npt.NDArray[np.bool_]:
        """Where a ratio of 1 is excluded."""
        return np.asarray((self.lower_M > 1) | (self.upper_M < 1))

    def at(self, compute: float) -> Interval:
        """The interval at a compute inside the band, interpolated; ValueError outside."""
        if not self.compute_M[0] * (1 - 1e-9) <= compute <= self.compute_M[-1] * (1 + 1e-9):
            raise ValueError(
                f"compute {compute:.3g} FLOPs: the ratio is known from {self.compute_M[0]:.3g} to "
                f"{self.compute_M[-1]:.3g} FLOPs and not believed beyond."
            )
        estimate, lower, upper = (
            self._interpolated(values_M, compute)
            for values_M in (self.estimate_M, self.lower_M, self.upper_M)
        )
        return Interval(
            estimate=estimate,
            lower=lower if lower > 0 else None,
            upper=upper if math.isfinite(upper) else None,
            level=self.level,
            method=self.method,
            reason=self.reason or _open_words(lower, upper),
        )

    def is_extrapolated(self, compute: float) -> bool:
        """Whether the interval at a compute uses a frontier beyond its points."""
        return bool(self.extrapolated_M[_nearest(self.compute_M, compute)])

    def part(self, rows: npt.NDArray[np.bool_]) -> RatioBand:
        """The band at the chosen computes."""
        chosen: dict[str, Any] = {
            name: getattr(self, name)[rows]
            for name in ("compute_M", "estimate_M", "lower_M", "upper_M", "extrapolated_M")
        }
        return dataclasses.replace(self, **chosen)

    def _interpolated(self, values_M: Floats, compute: float) -> float:
        """Log-linear between neighbours; 0 or inf where a neighbour is."""
        nearest = _nearest(self.compute_M, compute)
        if math.isclose(compute, self.compute_M[nearest], rel_tol=1e-6):
            return float(values_M[nearest])
        right = int(np.searchsorted(self.compute_M, compute))
        ends = values_M[right - 1 : right + 1]
        for end in ends:
            if end == 0 or math.isinf(end):
                return float(end)
        at = np.log(self.compute_M[right - 1 : right + 1])
        return float(np.exp(np.interp(np.log(compute), at, np.log(ends))))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Computes between which the studied frontier has points, and between which it is believed."""

    low: float
    high: float
    reach: float  # factor beyond either


def ratio_band(
    frontiers: PairedFrontiers,
    tails: Tails | None,
    rows_M: npt.NDArray[np.int64],
    *,
    limits: Limits,
    rival: Limits,
    level: float,
) -> RatioBand:
    """The ratio at the given rows of the grid; without ends where `tails` is None."""
    compute_M = frontiers.compute_G[rows_M]
    believed_G = _within(frontiers.compute_G, limits)
    low, high = int(np.flatnonzero(believed_G)[0]), int(np.flatnonzero(believed_G)[-1])
    sets = [_fieller(frontiers, tails, int(row), low, high) for row in rows_M]
    log_estimate_M, log_lower_M, log_upper_M = (np.asarray(part) for part in zip(*sets, strict=True))
    log_needed_M = np.log(compute_M) + np.where(np.isfinite(log_estimate_M), log_estimate_M, 0.0)
    outside_M = (compute_M < rival.low * (1 - 1e-9)) | (compute_M > rival.high * (1 + 1e-9))
    outside_M |= (log_needed_M < np.log(limits.low) - 1e-9) | (log_needed_M > np.log(limits.high) + 1e-9)
    needed_M = np.clip(
        np.searchsorted(np.log(frontiers.compute_G), log_needed_M), 0, len(frontiers.compute_G) - 1
    )
    outside_M |= frontiers.rival_beyond_G[rows_M] | frontiers.studied_beyond_G[needed_M]
    return RatioBand(
        compute_M=compute_M,
        estimate_M=np.exp(log_estimate_M),
        lower_M=np.exp(log_lower_M),
        upper_M=np.exp(log_upper_M),
        extrapolated_M=outside_M,
        level=level,
        reason=frontiers.reason,
    )


def _fieller(
    frontiers: PairedFrontiers, tails: Tails | None, rival: int, low: int, high: int
) -> tuple[float, float, float]:
    """ln of estimate, lower and upper end at one compute of the rival, from rows low..high of the studied frontier."""
    log_ratio_K = np.log(frontiers.compute_G[low : high + 1] / frontiers.compute_G[rival])
    excess_K = frontiers.studied_G[low : high + 1] - frontiers.rival_G[rival]
    estimate = _falls_through(log_ratio_K, excess_K)
    if tails is None:
        return estimate, -math.inf, math.inf
    nearest = int(np.argmin(np.abs(log_ratio_K - np.clip(estimate, log_ratio_K[0], log_ratio_K[-1]))))
    margin_K = tails.quantile(low + nearest, rival) * frontiers.spread(slice(low, high + 1), rival)
    lower = _last_above(log_ratio_K, excess_K - margin_K, estimate)
    upper = -_last_above(-log_ratio_K[::-1], (-excess_K - margin_K)[::-1], -estimate)
    return estimate, lower, upper


def _falls_through(x_K: Floats, falling_K: Floats) -> float:
    """Where a falling curve crosses 0; -inf or inf where it is below or above 0 everywhere."""
    if falling_K[0] < 0:
        return -math.inf
    if falling_K[-1] > 0:
        return math.inf
    return float(np.interp(0.0, -falling_K, x_K))


def _last_above(x_K: Floats, above_K: Floats, before: float) -> float:
    """Where a curve last falls through 0 before (or just at) a place; -inf if it is not above 0 there anywhere.

    The exit nearest to the estimate ends the set: every law falls with compute, so what is told apart at r is told
    apart at every ratio farther off, however wide the margin becomes out there.
    """
    rows = np.flatnonzero((above_K > 0) & (x_K <= before + 1e-9))
    if not len(rows):
        return -math.inf
    last = int(rows[-1])
    if last + 1 == len(x_K):
        return float(x_K[last])
    share = above_K[last] / (above_K[last] - above_K[last + 1])
    return float(min(x_K[last] + share * (x_K[last + 1] - x_K[last]), before))


def _within(compute_G: Floats, limits: Limits) -> npt.NDArray[np.bool_]:
    low, high = limits.low / limits.reach, limits.high * limits.reach
    return np.asarray((compute_G >= low * (1 - 1e-9)) & (compute_G <= high * (1 + 1e-9)))


def _nearest(compute_M: Floats, compute: float) -> int:
    return int(np.argmin(np.abs(np.log(compute_M / compute))))


def _open_words(lower: float, upper: float) -> str:
    sides = [side for side, is_open in (("below", lower <= 0), ("above", math.isinf(upper))) if is_open]
    return f"the points do not bound the ratio {' or '.join(sides)}" if sides else ""
