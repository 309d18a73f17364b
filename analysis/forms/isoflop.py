"""IsoFLOP valleys: error as a polynomial of ln(covariate) at one compute, and where its bottom is.

The parabola is approach 2 of Hoffmann 2022; the cubic allows a lopsided valley, for which the parabola's bottom is
biased (Czech 2026).  The polynomials are unconstrained, so that a hill or a slope shows as what it is.

Shapes.  N points, P coefficients, R laws.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from analysis.forms.form import Floats, Form, Law

# of 1, x, x**2, x**3 with x = ln(covariate / reference)
COEFFICIENTS = ("level", "slope", "curvature", "skew")
FARTHEST_COEFFICIENT = 1e6  # in largest errors
# of the range of ln(covariate): a bottom nearer to either end rests on one side of the valley
OFF_CENTRE = 0.15


@dataclasses.dataclass(frozen=True, slots=True)
class Polynomial(Form):
    """error = level + slope x + curvature x**2 (+ skew x**3), x = ln(covariate / reference)."""

    largest_step: ClassVar[float] = np.inf  # linear in its coefficients: a step may go all the way
    covariate: str
    degree: int  # 2 or 3

    def __post_init__(self) -> None:
        if self.degree not in (2, 3):
            raise ValueError(f"{self}: the degree is 2 (parabola) or 3 (cubic).")

    @property
    def name(self) -> str:
        """isoflop_parabola, isoflop_cubic."""
        return "isoflop_parabola" if self.degree == 2 else "isoflop_cubic"

    @property
    def formula(self) -> str:
        """error = level + slope x + curvature x**2 + ..."""
        cubic = " + skew x**3" if self.degree == 3 else ""
        return f"error = level + slope x + curvature x**2{cubic}, x = ln({self.covariate} / reference)"

    @property
    def covariates(self) -> tuple[str, ...]:
        """The one covariate."""
        return (self.covariate,)

    @property
    def parameters(self) -> tuple[str, ...]:
        """level, slope, curvature, skew."""
        return COEFFICIENTS[: self.degree + 1]

    @property
    def least_values(self) -> Mapping[str, int]:
        """One more than the degree."""
        return {self.covariate: self.degree + 1}

    def predict(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Errors [R, N]."""
        return self.derivatives(theta_RP, x_NK)[0]

    def derivatives(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """Errors [R, N] and derivatives [R, N, P]."""
        power_NP = x_NK[..., :1] ** np.arange(self.degree + 1)
        power_RNP = np.broadcast_to(power_NP, (len(theta_RP), *power_NP.shape[-2:]))
        return np.einsum("rnp,rp->rn", power_RNP, theta_RP), np.array(power_RNP)

    def seeds(self, x_NK: Floats, error_N: Floats, weight_N: Floats, count: int) -> Floats:
        """The one least-squares solution."""
        root_N = np.sqrt(weight_N)
        power_NP = x_NK[:, :1] ** np.arange(self.degree + 1)
        return np.asarray(np.linalg.lstsq(power_NP * root_N[:, None], error_N * root_N, rcond=None)[0][None])

    def values(self, theta_P: Floats) -> dict[str, float]:
        """The coefficients."""
        return {name: float(value) for name, value in zip(self.parameters, theta_P, strict=True)}

    def theta(self, values: Mapping[str, float]) -> Floats:
        """The coefficients."""
        return np.asarray([values[name] for name in self.parameters])

    def bounds(self, x_NK: Floats, error_N: Floats) -> tuple[Floats, Floats]:
        """Practically free."""
        span = max(float(np.abs(x_NK).max()), 1e-6)
        farthest_P = FARTHEST_COEFFICIENT * error_N.max() / span ** np.arange(self.degree + 1)
        return -farthest_P, farthest_P


class ValleyStatus(enum.StrEnum):
    """Whether a polynomial has a bottom that can be trusted."""

    OK = "ok"
    OFF_CENTRE = "off_centre"  # so near an end of the points that one side of the valley is guessed
    OUT_OF_RANGE = "out_of_range"  # beyond the points: no optimum is stated
    CONCAVE = "concave"  # a hill or a slope: there is no bottom


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Valley:
    """The bottom of an IsoFLOP polynomial, in the unit of its covariate."""

    status: ValleyStatus
    reason: str = ""  # in words, empty when ok
    optimum: float | None = None  # the covariate of least error; None where there is none within the points
    error: float | None = None  # predicted there


def valley(law: Law, lowest: float, highest: float) -> Valley:
    """The bottom of the law of a `Polynomial` fitted to points with covariates from lowest to highest."""
    if not isinstance(law.form, Polynomial):
        raise ValueError(f"{law.form.name} is no IsoFLOP polynomial; its optimum is that of its frontier.")
    name, reference = law.form.covariate, law.references[law.form.covariate]
    bottom = _bottom(law.values)
    if bottom is None:
        return Valley(status=ValleyStatus.CONCAVE, reason=f"the error has no minimum over {name}")
    low, high = float(np.log(lowest / reference)), float(np.log(highest / reference))
    if not low <= bottom <= high:
        side = (
            f"below the smallest {name}, {lowest:.3g}"
            if bottom < low
            else f"above the largest, {highest:.3g}"
        )
        return Valley(status=ValleyStatus.OUT_OF_RANGE, reason=f"the minimum over {name} is {side}")
    optimum = reference * float(np.exp(bottom))
    found = Valley(status=ValleyStatus.OK, optimum=optimum, error=float(law.predict(**{name: optimum})))
    if min(bottom - low, high - bottom) >= OFF_CENTRE * (high - low):
        return found
    reason = f"the minimum over {name} is within {OFF_CENTRE:.0%} of an end of the points"
    return dataclasses.replace(found, status=ValleyStatus.OFF_CENTRE, reason=reason)


def _bottom(values: Mapping[str, float]) -> float | None:
    """x of the local minimum: the root of slope + 2 curvature x + 3 skew x**2 where the curvature is positive."""
    slope, curvature, skew = values["slope"], values["curvature"], values.get("skew", 0.0)
    discriminant = curvature**2 - 3 * skew * slope
    if discriminant <= 0:
        return None
    divisor = curvature + float(np.sqrt(discriminant))
    if divisor > 0:
        return -slope / divisor
    return None if skew == 0 else (float(np.sqrt(discriminant)) - curvature) / (3 * skew)
