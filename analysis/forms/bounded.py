"""Bounded laws for error rates: error = (floor + ceiling * u) / (1 + u), u = (a sum of powers)**coupling.

Alabdulmohsin 2022 (M4 with shape 1) on the surface of parameters and samples; the coupling is that of Beck 2025
(gamma).  Small u: floor + (ceiling - floor) u, the additive surface; large u: the error of guessing.

Shapes.  N points, K covariates, P parameters, R laws, S seeds, F floors of the seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.special import expit, logit

from analysis.forms.floored import floor_name
from analysis.forms.form import Floats, Form
from analysis.forms.projection import VANISHING, grid, log_exponent_axes, project, spread_best
from analysis.forms.terms import power_formula, power_terms, term_exponents, term_parameters, with_term_bounds

SMALLEST_SHARE = 1e-6  # floor as a share of the ceiling below which it cannot be told from 0
SEED_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)  # floors of the seeds, as shares of the smallest error
SEED_COUPLINGS = (1.0, 0.5, 2.0)
INSIDE = 1e-3  # seeds see errors at least this share of the range from floor and ceiling
LEAST_COUPLING, MOST_COUPLING = 0.2, 5.0
LARGEST_LOGIT = 300.0  # of the share of the range between floor and ceiling; keeps its exp() finite


@dataclasses.dataclass(frozen=True, slots=True)
class Bounded(Form):
    """(floor + ceiling u) / (1 + u) between a fitted (or fixed) floor and a known ceiling, the error of guessing."""

    terms: tuple[str, ...]
    ceiling: float  # error of guessing, in (0, 1]
    fixed_floor: float | None = None
    coupled: bool = False

    def __post_init__(self) -> None:
        floor = 0.0 if self.fixed_floor is None else self.fixed_floor
        if not 0 < self.ceiling <= 1 or not 0 <= floor < self.ceiling or not 1 <= len(self.terms) <= 3:
            raise ValueError(
                f"{self}: needs 0 < ceiling <= 1, a floor in [0, ceiling) and one to three terms."
            )
        if self.coupled and len(self.terms) == 1:
            raise ValueError(
                f"{self}: the coupling of one power is part of its exponent; couple two or more."
            )

    @property
    def name(self) -> str:
        """bounded_surface, coupled_bounded_surface, bounded_power, ... with the fixed floor."""
        kind = ("bounded_power", "bounded_surface", "bounded_volume")[len(self.terms) - 1]
        return floor_name(f"coupled_{kind}" if self.coupled else kind, self.fixed_floor)

    @property
    def formula(self) -> str:
        """error = (floor + ceiling * u) / (1 + u), u = ..."""
        floor = "floor" if self.fixed_floor is None else f"{self.fixed_floor:g}"
        power = f"({power_formula(self.terms)})**coupling" if self.coupled else power_formula(self.terms)
        return f"error = ({floor} + {self.ceiling:.6g} u) / (1 + u), u = {power}"

    @property
    def covariates(self) -> tuple[str, ...]:
        """The terms."""
        return self.terms

    @property
    def parameters(self) -> tuple[str, ...]:
        """scale_*, exponent_*, coupling, floor."""
        coupling = ("coupling",) if self.coupled else ()
        return (*term_parameters(self.terms), *coupling, *(("floor",) if self.fixed_floor is None else ()))

    @property
    def limits(self) -> Mapping[str, Form]:
        """Without floor where it ends at 0."""
        return {"floor": dataclasses.replace(self, fixed_floor=0.0)} if self.fixed_floor is None else {}

    def refuse(self, error_N: Floats) -> str:
        """Error rates are fractions."""
        if error_N.max() <= 1:
            return ""
        return (
            f"{self.name} is a law of error rates: errors are fractions of at most 1, not {error_N.max():g}"
        )

    def predict(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Errors [R, N]."""
        floor_R1 = self._floor(theta_RP)[:, None]
        log_u_RN = self._log_u(theta_RP, power_terms(theta_RP, x_NK)[0].sum(axis=2))
        return np.asarray(self.ceiling - (self.ceiling - floor_R1) * expit(-log_u_RN))

    def derivatives(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """Errors [R, N] and derivatives [R, N, P]."""
        term_RNK, by_exponent_RNK = power_terms(theta_RP, x_NK)
        sum_RN = term_RNK.sum(axis=2)
        log_u_RN, floor_R1 = self._log_u(theta_RP, sum_RN), self._floor(theta_RP)[:, None]
        by_log_u_RN = (self.ceiling - floor_R1) * expit(log_u_RN) * expit(-log_u_RN)
        by_sum_RN1 = (by_log_u_RN * self._coupling(theta_RP)[:, None] / sum_RN)[..., None]
        columns = [by_sum_RN1 * term_RNK, by_sum_RN1 * by_exponent_RNK]
        if self.coupled:
            columns.append((by_log_u_RN * log_u_RN)[..., None])
        if self.fixed_floor is None:
            slope_R1 = floor_R1 * (1 - floor_R1 / self.ceiling)
            columns.append((slope_R1 * expit(-log_u_RN))[..., None])
        error_RN = self.ceiling - (self.ceiling - floor_R1) * expit(-log_u_RN)
        return np.asarray(error_RN), np.concatenate(columns, axis=2)

    def slopes(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Derivatives [R, N, K] of the errors by ln(covariate)."""
        term_RNK = power_terms(theta_RP, x_NK)[0]
        by_log_scale_RNK = self.derivatives(theta_RP, x_NK)[1][..., : term_RNK.shape[2]]
        return np.asarray(-term_exponents(theta_RP, len(self.terms))[:, None, :] * by_log_scale_RNK)

    def seeds(self, x_NK: Floats, error_N: Floats, weight_N: Floats, count: int) -> Floats:
        """For a few floors: u = (error - floor) / (ceiling - error) is a sum of powers, with amplitudes in closed form."""
        shares = SEED_SHARES if self.fixed_floor is None else (None,)
        found = [
            self._seeds_at(share, coupling, x_NK, error_N, weight_N)
            for share in shares
            for coupling in (SEED_COUPLINGS if self.coupled else (1.0,))
        ]
        theta_SP, squared_S = (np.concatenate(part) for part in zip(*found, strict=True))
        num = len(self.terms)
        return np.asarray(
            theta_SP[spread_best(squared_S, theta_SP[:, num : 2 * num], log_exponent_axes(x_NK), count)]
        )

    def values(self, theta_P: Floats) -> dict[str, float]:
        """exp of the coordinates of terms and coupling, a logistic share of the ceiling for the floor."""
        values = {name: float(np.exp(theta)) for name, theta in zip(self.parameters, theta_P, strict=True)}
        return values | {"floor": float(self._floor(np.asarray([theta_P]))[0])}

    def theta(self, values: Mapping[str, float]) -> Floats:
        """The inverse of `values`."""
        theta = [np.log(max(values[name], 1e-300)) for name in self.parameters if name != "floor"]
        if self.fixed_floor is None:
            share = np.clip(values["floor"] / self.ceiling, SMALLEST_SHARE, 1 - SMALLEST_SHARE)
            theta.append(float(logit(share)))
        return np.asarray(theta)

    def bounds(self, x_NK: Floats, error_N: Floats) -> tuple[Floats, Floats]:
        """Amplitudes practically free, exponents between flat and a step, the floor between 0 and the ceiling."""
        lower, upper = [], []
        if self.coupled:
            lower, upper = [float(np.log(LEAST_COUPLING))], [float(np.log(MOST_COUPLING))]
        if self.fixed_floor is None:
            lower, upper = [*lower, float(logit(SMALLEST_SHARE))], [*upper, float(logit(1 - SMALLEST_SHARE))]
        return with_term_bounds(x_NK, 1.0, lower, upper)

    def _seeds_at(
        self, share: float | None, coupling: float, x_NK: Floats, error_N: Floats, weight_N: Floats
    ) -> tuple[Floats, Floats]:
        """Seeds [G, P] of one floor and coupling and their squared errors [G]."""
        lowest = min(float(error_N.min()), (1 - INSIDE) * self.ceiling)
        floor = self.fixed_floor if share is None else share * lowest
        assert floor is not None, "a floor is fixed or has a share"
        margin = INSIDE * (self.ceiling - floor)
        inside_N = np.clip(error_N, floor + margin, self.ceiling - margin)
        sum_N = ((inside_N - floor) / (self.ceiling - inside_N)) ** (1 / coupling)
        by_sum_N = coupling * (inside_N - floor) * (self.ceiling - inside_N) / (self.ceiling - floor) / sum_N
        grid_GK = grid(log_exponent_axes(x_NK))
        basis_GNK = np.exp(-np.exp(grid_GK)[:, None, :] * x_NK)
        amplitude_GM, squared_G = project(basis_GNK, sum_N, weight_N * by_sum_N**2)
        columns = [np.log(np.maximum(amplitude_GM, VANISHING * sum_N.min())), grid_GK]
        if self.coupled:
            columns.append(np.full((len(grid_GK), 1), np.log(coupling)))
        if self.fixed_floor is None:
            columns.append(np.full((len(grid_GK), 1), logit(max(floor / self.ceiling, 1e-3))))
        return np.concatenate(columns, axis=1), squared_G

    def _log_u(self, theta_RP: Floats, sum_RN: Floats) -> Floats:
        log_u_RN = self._coupling(theta_RP)[:, None] * np.log(sum_RN)
        return np.asarray(np.clip(log_u_RN, -LARGEST_LOGIT, LARGEST_LOGIT))

    def _coupling(self, theta_RP: Floats) -> Floats:
        if not self.coupled:
            return np.ones(len(theta_RP))
        return np.asarray(np.exp(theta_RP[:, 2 * len(self.terms)]))

    def _floor(self, theta_RP: Floats) -> Floats:
        if self.fixed_floor is not None:
            return np.full(len(theta_RP), self.fixed_floor)
        return np.asarray(self.ceiling * expit(theta_RP[:, -1]))
