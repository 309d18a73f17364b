"""The power law with one smooth break: two exponents, before and after (Caballero 2023, eq. 1 with n = 1).

error = floor + scale z**-exponent_before * ((1 + (z / break)**(1 / smoothness)) / (1 + break**(-1 / smoothness)))
**(-(exponent_after - exponent_before) * smoothness), z = covariate / reference; the denominator makes scale + floor
the error at the reference.  Both exponents are positive here: a law of compute does not rise.

Shapes.  N points, P parameters, R laws, G laws of the grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.special import expit

from analysis.forms.floored import floor_formula, floor_name
from analysis.forms.form import Floats
from analysis.forms.projection import log_exponent_axes
from analysis.forms.single import SingleCovariate
from analysis.forms.terms import LARGEST, exponent_bounds, with_term_bounds

GRID_EXPONENTS, GRID_BREAKS = 12, 10
SMOOTHNESSES = (0.02, 0.1)  # of the seeds, as shares of the range of ln(covariate)
SCALES_PER_BREAK = 6  # distinct values of the covariate (Caballero 2023, section 4)
LEAST_SMOOTHNESS, MOST_SMOOTHNESS = 0.002, 1.0  # likewise: a kink between two points, no break at all


@dataclasses.dataclass(frozen=True, slots=True)
class BrokenPower(SingleCovariate):
    """A power whose exponent changes at one break; the break is in references, the smoothness in e-folds."""

    @property
    def name(self) -> str:
        """broken_power, with the fixed floor where there is one."""
        return floor_name("broken_power", self.fixed_floor)

    @property
    def formula(self) -> str:
        """The law in the names of its parameters."""
        change = "(1 + (z / break)**(1 / smoothness))**((exponent_before - exponent_after) * smoothness)"
        law = f"scale * z**-exponent_before * {change}, normalised to scale at z = 1"
        return f"error = {floor_formula(self.fixed_floor)}{law}, z = {self.covariate} / reference"

    @property
    def shape_parameters(self) -> tuple[str, ...]:
        """scale, exponent_before, exponent_after, break, smoothness."""
        return ("scale", "exponent_before", "exponent_after", "break", "smoothness")

    @property
    def least_values(self) -> Mapping[str, int]:
        """A break needs more scales than a power."""
        return {self.covariate: SCALES_PER_BREAK}

    def derivatives(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """Errors [R, N] and derivatives [R, N, P]."""
        before_R1, after_R1 = np.exp(theta_RP[:, 1:2]), np.exp(theta_RP[:, 2:3])
        break_R1, smooth_R1 = theta_RP[:, 3:4], np.exp(theta_RP[:, 4:5])
        x_RN = x_NK[..., 0]
        here_RN, there_R1 = (x_RN - break_R1) / smooth_R1, -break_R1 / smooth_R1
        bend_RN = smooth_R1 * (np.logaddexp(0, here_RN) - np.logaddexp(0, there_R1))
        change_R1 = after_R1 - before_R1
        log_power_RN = theta_RP[:, :1] - before_R1 * x_RN - change_R1 * bend_RN
        power_RN = np.exp(np.clip(log_power_RN, -LARGEST, LARGEST))
        by_smooth_RN = bend_RN - smooth_R1 * (here_RN * expit(here_RN) - there_R1 * expit(there_R1))
        logarithmic = [
            np.ones_like(bend_RN),
            before_R1 * (bend_RN - x_RN),
            -after_R1 * bend_RN,
            change_R1 * (expit(here_RN) - expit(there_R1)),
            -change_R1 * by_smooth_RN,
        ]
        return self.floored(theta_RP, power_RN, [power_RN[..., None] * np.stack(logarithmic, axis=2)])

    def seeds(self, x_NK: Floats, error_N: Floats, weight_N: Floats, count: int) -> Floats:
        """Best amplitude and floor, in closed form, over a grid of exponents, breaks and smoothness."""
        exponents, span = log_exponent_axes(x_NK, GRID_EXPONENTS)[0], float(np.ptp(x_NK))
        breaks = np.linspace(x_NK.min(), x_NK.max(), GRID_BREAKS + 2)[1:-1]
        axes = [exponents, exponents, breaks, np.log(np.asarray(SMOOTHNESSES) * span)]
        return self.seeds_on(axes, x_NK, error_N, weight_N, count)

    def bounds(self, x_NK: Floats, error_N: Floats) -> tuple[Floats, Floats]:
        """The break within the points, the smoothness between a kink and no break."""
        lower, upper = self.floor_bounds(error_N)
        low_P, high_P = with_term_bounds(x_NK, float(error_N.max()), [], [])
        (low,), (high,) = exponent_bounds(x_NK)
        span = max(float(np.ptp(x_NK)), 1e-6)
        smoothness = np.log(np.asarray([LEAST_SMOOTHNESS, MOST_SMOOTHNESS]) * span)
        lower_P = np.asarray([low_P[0], low, low, x_NK.min(), smoothness[0], *lower])
        return lower_P, np.asarray([high_P[0], high, high, x_NK.max(), smoothness[1], *upper])
