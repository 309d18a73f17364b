"""Intervals and bands as values.  A side that the data do not bound is open: None, or an infinite end of a band.

Shapes.  M points of a curve.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.forms.form import Floats

LEVEL = 0.95
OPEN = "the points do not bound it"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with the ends between which it is believed to lie, in the unit of the estimate."""

    estimate: float
    lower: float | None  # None: the data do not bound it below
    upper: float | None  # None: the data do not bound it above
    level: float  # confidence, in (0, 1)
    method: str  # "wild cluster bootstrap", "profile likelihood", ...
    reason: str = ""  # in words, why there is no interval or why it is open; empty when there is one
    degrees_of_freedom: float | None = None  # of the t or F reference; None for percentiles

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level}: must be between 0 and 1, such as {LEVEL}.")
        if self.lower is not None and self.upper is not None and not self.lower <= self.upper:
            raise ValueError(f"an interval from {self.lower:g} to {self.upper:g} is upside down.")

    @property
    def identified(self) -> bool:
        """Whether both sides are closed and nothing speaks against the interval."""
        return self.lower is not None and self.upper is not None and not self.reason

    def contains(self, value: float) -> bool:
        """Whether the value is not excluded; an open side excludes nothing."""
        return (self.lower is None or self.lower <= value) and (self.upper is None or value <= self.upper)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """A curve with its lower and upper ends, -inf and inf where the data do not bound it; empty ends with a reason."""

    estimate_M: Floats
    lower_M: Floats
    upper_M: Floats
    level: float
    method: str
    simultaneous: bool  # holds for the whole curve at once, or for each point alone
    reason: str = ""  # in words, why there is no band

    def at(self, index: int) -> Interval:
        """The band at one point of the curve."""
        lower, upper = float(self.lower_M[index]), float(self.upper_M[index])
        return Interval(
            estimate=float(self.estimate_M[index]),
            lower=lower if np.isfinite(lower) else None,
            upper=upper if np.isfinite(upper) else None,
            level=self.level,
            method=self.method,
            reason=self.reason,
        )


def no_interval(estimate: float, *, level: float, method: str, reason: str) -> Interval:
    """An interval open on both sides, with the reason why."""
    return Interval(estimate=estimate, lower=None, upper=None, level=level, method=method, reason=reason)


def no_band(estimate_M: Floats, *, level: float, method: str, simultaneous: bool, reason: str) -> Band:
    """A band open everywhere, with the reason why."""
    return Band(
        estimate_M=estimate_M,
        lower_M=np.full(len(estimate_M), -np.inf),
        upper_M=np.full(len(estimate_M), np.inf),
        level=level,
        method=method,
        simultaneous=simultaneous,
        reason=reason,
    )
