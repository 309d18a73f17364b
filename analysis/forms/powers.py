"""Sums of powers: error = floor + sum over covariates of scale * (covariate / reference)**-exponent.

With compute alone the power law of Cherti 2023 (no floor) and the saturating one of Hestness 2017; with parameters
and samples the additive surface of Hoffmann 2022 (eq. 2).  Unbounded above: for losses, and for error rates far from
guessing only.

Shapes.  N points, K covariates, P parameters = 2 K (+ 1 with a floor), R laws.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.forms.floored import Floored, floor_formula, floor_name
from analysis.forms.form import Floats
from analysis.forms.projection import grid, log_exponent_axes
from analysis.forms.terms import power_formula, power_terms, term_exponents, term_parameters, with_term_bounds


@dataclasses.dataclass(frozen=True, slots=True)
class PowerSum(Floored):
    """floor + sum of scale * (covariate / reference)**-exponent; floor > 0 fitted, or fixed (0: a pure power)."""

    terms: tuple[str, ...]
    fixed_floor: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.terms) <= 3 or (self.fixed_floor is not None and not self.fixed_floor >= 0):
            raise ValueError(f"{self}: needs one to three terms and a fixed floor of at least 0.")

    @property
    def name(self) -> str:
        """additive_surface, saturating_power, power; with the fixed floor where there is one."""
        if len(self.terms) == 1 and not self.fixed_floor:
            return "saturating_power" if self.fixed_floor is None else "power"
        return floor_name(
            ("power", "additive_surface", "additive_volume")[len(self.terms) - 1], self.fixed_floor
        )

    @property
    def formula(self) -> str:
        """error = floor + scale_x * (x / reference)**-exponent_x + ..."""
        return f"error = {floor_formula(self.fixed_floor)}{power_formula(self.terms)}"

    @property
    def covariates(self) -> tuple[str, ...]:
        """The terms."""
        return self.terms

    @property
    def shape_parameters(self) -> tuple[str, ...]:
        """scale_*, exponent_*."""
        return term_parameters(self.terms)

    def with_floor(self, floor: float) -> PowerSum:
        """The same sum above a fixed floor."""
        return dataclasses.replace(self, fixed_floor=floor)

    def predict(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Errors [R, N]."""
        sum_RN = power_terms(theta_RP, x_NK)[0].sum(axis=2)
        return np.asarray(
            sum_RN + (np.exp(theta_RP[:, -1:]) if self.fixed_floor is None else self.fixed_floor)
        )

    def derivatives(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """Errors [R, N] and derivatives [R, N, P]."""
        term_RNK, by_exponent_RNK = power_terms(theta_RP, x_NK)
        return self.floored(theta_RP, term_RNK.sum(axis=2), [term_RNK, by_exponent_RNK])

    def slopes(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Derivatives [R, N, K] of the errors by ln(covariate)."""
        exponent_RK = term_exponents(theta_RP, len(self.terms))
        return np.asarray(-exponent_RK[:, None, :] * power_terms(theta_RP, x_NK)[0])

    def seeds(self, x_NK: Floats, error_N: Floats, weight_N: Floats, count: int) -> Floats:
        """Best amplitudes and floor, in closed form, over a grid of exponents."""
        axes = log_exponent_axes(x_NK)
        grid_GK = grid(axes)
        basis_GNK = np.exp(-np.exp(grid_GK)[:, None, :] * x_NK)
        return self.projected(basis_GNK, error_N, weight_N, grid_GK, axes, count)

    def bounds(self, x_NK: Floats, error_N: Floats) -> tuple[Floats, Floats]:
        """Amplitudes practically free, exponents between flat and a step, the floor below the smallest error."""
        return with_term_bounds(x_NK, float(error_N.max()), *self.floor_bounds(error_N))
