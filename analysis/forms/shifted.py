"""The shifted power with floor: error = floor + scale * ((covariate + shift) / (reference + shift))**-exponent.

Zhai 2022 (eq. 1) and Nezhurina 2025: the shift lets the error level off below some compute.  One covariate.

Shapes.  N points, P parameters, R laws, G laws of the grid, L coordinates of the grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from analysis.forms.floored import floor_formula, floor_name
from analysis.forms.form import Floats, Form
from analysis.forms.powers import PowerSum
from analysis.forms.projection import log_exponent_axes
from analysis.forms.single import SingleCovariate
from analysis.forms.terms import LARGEST, with_term_bounds

FARTHEST_SHIFT = 1e3  # beyond the points: smaller is a power, larger an exponential
GRID_SHIFTS = 24


@dataclasses.dataclass(frozen=True, slots=True)
class ShiftedPower(SingleCovariate):
    """floor + scale ((x + shift) / (reference + shift))**-exponent; the shift is in references."""

    @property
    def name(self) -> str:
        """shifted_power, with the fixed floor where there is one."""
        return floor_name("shifted_power", self.fixed_floor)

    @property
    def formula(self) -> str:
        """error = floor + scale_x * ((x / reference + shift) / (1 + shift))**-exponent_x"""
        x = self.covariate
        power = f"scale_{x} * (({x} / reference + shift) / (1 + shift))**-exponent_{x}"
        return f"error = {floor_formula(self.fixed_floor)}{power}"

    @property
    def shape_parameters(self) -> tuple[str, ...]:
        """scale_*, exponent_*, shift."""
        return (f"scale_{self.covariate}", f"exponent_{self.covariate}", "shift")

    @property
    def limits(self) -> Mapping[str, Form]:
        """Without floor, and without shift, where they end at 0."""
        limits: dict[str, Form] = {"shift": PowerSum(self.covariates, self.fixed_floor)}
        return limits if self.fixed_floor is not None else limits | {"floor": self.with_floor(0.0)}

    def derivatives(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """Errors [R, N] and derivatives [R, N, P]."""
        exponent_R1, shift_R1 = np.exp(theta_RP[:, 1:2]), np.exp(theta_RP[:, 2:3])
        scaled_RN = np.exp(np.clip(x_NK[..., 0], -LARGEST, LARGEST)) + shift_R1
        decay_RN = exponent_R1 * (np.log(scaled_RN) - np.log1p(shift_R1))
        power_RN = np.exp(np.clip(theta_RP[:, :1] - decay_RN, -LARGEST, LARGEST))
        by_shift_RN = -power_RN * exponent_R1 * shift_R1 * (1 / scaled_RN - 1 / (1 + shift_R1))
        return self.floored(
            theta_RP, power_RN, [np.stack([power_RN, -decay_RN * power_RN, by_shift_RN], axis=2)]
        )

    def seeds(self, x_NK: Floats, error_N: Floats, weight_N: Floats, count: int) -> Floats:
        """Best amplitude and floor, in closed form, over a grid of exponents and shifts."""
        lower_P, upper_P = self.bounds(x_NK, error_N)
        axes = [log_exponent_axes(x_NK, GRID_SHIFTS)[0], np.linspace(lower_P[2], upper_P[2], GRID_SHIFTS)]
        return self.seeds_on(axes, x_NK, error_N, weight_N, count)

    def bounds(self, x_NK: Floats, error_N: Floats) -> tuple[Floats, Floats]:
        """The shift between far below the least and far above the largest covariate."""
        lower, upper = self.floor_bounds(error_N)
        farthest = float(np.log(FARTHEST_SHIFT))
        low, high = float(x_NK.min()) - farthest, float(x_NK.max()) + farthest
        return with_term_bounds(x_NK, float(error_N.max()), [low, *lower], [high, *upper])
