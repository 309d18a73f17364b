"""Repeated samples and excess parameters count for less (Muennighoff 2023, eqs. 4 to 8).

The surface of an inner form at effective covariates: of D samples seen, U of them unique, D_eff = U + U R* (1 -
exp(-(D / U - 1) / R*)); the same for parameters beyond N_U, the number that is optimal for U unique samples.  N_U is
where a doubling of either buys the same, exponent_N term_N(N_U) = exponent_D term_D(U): the optimum at equal FLOPs.

Shapes.  N points, K covariates of the inner form (parameters, samples_seen), P parameters, I of them of the inner
form, R laws, S seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from analysis.forms.bounded import Bounded
from analysis.forms.form import Floats, Form
from analysis.forms.powers import PowerSum
from analysis.forms.projection import grid, spread_best
from analysis.forms.terms import LARGEST

TERMS = ("parameters", "samples_seen")
LEAST_REPEATS, MOST_REPEATS = 1e-2, 1e5  # repeats are worth nothing; as much as new samples
SEED_REPEATS = (0.25, 1.0, 4.0, 16.0, 64.0, 256.0)
SEED_SURFACES = 3  # seeds of the inner form that are combined with every worth of repeats


@dataclasses.dataclass(frozen=True, slots=True)
class RepeatedData(Form):
    """The inner surface at effective parameters and samples."""

    inner: PowerSum | Bounded

    def __post_init__(self) -> None:
        if self.inner.terms != TERMS:
            raise ValueError(f"{self}: the inner form is a surface of {TERMS}.")

    @property
    def name(self) -> str:
        """repeated_data_surface, or that of the bounded inner form."""
        return (
            "repeated_data_surface" if self.inner == PowerSum(TERMS) else f"repeated_data_{self.inner.name}"
        )

    @property
    def formula(self) -> str:
        """The inner law with what is effective of its covariates."""
        effective = "x_eff = x_U (1 + repeats_x (1 - exp(-(x / x_U - 1) / repeats_x)))"
        return f"{self.inner.formula}, at {effective}; U: unique_samples, and the parameters that are optimal for them"

    @property
    def covariates(self) -> tuple[str, ...]:
        """parameters, samples_seen, unique_samples."""
        return (*TERMS, "unique_samples")

    @property
    def parameters(self) -> tuple[str, ...]:
        """Those of the inner form, repeats_samples_seen (R_D*), repeats_parameters (R_N*)."""
        return (*self.inner.parameters, "repeats_samples_seen", "repeats_parameters")

    @property
    def limits(self) -> Mapping[str, Form]:
        """Those of the inner form."""
        return {name: RepeatedData(_surface(form)) for name, form in self.inner.limits.items()}

    @property
    def least_values(self) -> Mapping[str, int]:
        """One data set may do: repeats vary with the samples seen."""
        return {**self.inner.least_values, "unique_samples": 1}

    @property
    def shared_references(self) -> Mapping[str, str]:
        """Unique samples are counted like samples seen."""
        return {"unique_samples": "samples_seen"}

    def refuse(self, error_N: Floats) -> str:
        """As the inner form does."""
        return self.inner.refuse(error_N)

    def predict(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Errors [R, N]."""
        return self.inner.predict(theta_RP[:, :-2], self._effective(theta_RP, x_NK)[0])

    def derivatives(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """Errors [R, N] and derivatives [R, N, P]."""
        effective_RNK, by_theta_RNKP = self._effective(theta_RP, x_NK)
        error_RN, direct_RNI = self.inner.derivatives(theta_RP[:, :-2], effective_RNK)
        slope_RNK = self.inner.slopes(theta_RP[:, :-2], effective_RNK)
        derivative_RNP = np.einsum("rnk,rnkp->rnp", slope_RNK, by_theta_RNKP)
        derivative_RNP[..., :-2] += direct_RNI
        return error_RN, derivative_RNP

    def seeds(self, x_NK: Floats, error_N: Floats, weight_N: Floats, count: int) -> Floats:
        """Seeds of the inner form on the covariates as they are, with the best of a grid of worths of repeats."""
        inner_SI = self.inner.seeds(x_NK[:, :2], error_N, weight_N, SEED_SURFACES)
        axis = np.log(np.asarray(SEED_REPEATS))
        repeats_GL = grid([axis, axis])
        theta_GP = np.concatenate(
            [np.repeat(inner_SI, len(repeats_GL), axis=0), np.tile(repeats_GL, (len(inner_SI), 1))], axis=1
        )
        squared_G = np.einsum("gn,n->g", (self.predict(theta_GP, x_NK) - error_N) ** 2, weight_N)
        return np.asarray(theta_GP[spread_best(squared_G, theta_GP[:, -2:], [axis, axis], count)])

    def values(self, theta_P: Floats) -> dict[str, float]:
        """Those of the inner form, and the worths of repeats in repeats."""
        repeats = dict(zip(self.parameters[-2:], map(float, np.exp(theta_P[-2:])), strict=True))
        return self.inner.values(theta_P[:-2]) | repeats

    def theta(self, values: Mapping[str, float]) -> Floats:
        """The inverse of `values`."""
        repeats = np.log(np.maximum([values[name] for name in self.parameters[-2:]], 1e-300))
        return np.concatenate([self.inner.theta(values), repeats])

    def bounds(self, x_NK: Floats, error_N: Floats) -> tuple[Floats, Floats]:
        """Those of the inner form; repeats between worthless and as good as new."""
        lower_I, upper_I = self.inner.bounds(x_NK[:, :2], error_N)
        lower_P = np.concatenate([lower_I, np.full(2, np.log(LEAST_REPEATS))])
        return lower_P, np.concatenate([upper_I, np.full(2, np.log(MOST_REPEATS))])

    def _effective(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """ln of effective covariates [R, N, K], and their derivatives [R, N, K, P]."""
        num = theta_RP.shape[1]
        samples_N, unique_N = x_NK[..., 1], np.minimum(x_NK[..., 1], x_NK[..., 2])
        optimal_RN, by_inner_RNI = self._optimal_parameters(theta_RP, unique_N)
        within_RN = x_NK[..., 0] <= optimal_RN
        base_RN = np.where(within_RN, x_NK[..., 0], optimal_RN)
        samples_RN, by_repeats_RN, _ = worth(samples_N, unique_N, theta_RP[:, -2:-1])
        parameters_RN, by_excess_RN, by_base_RN = worth(x_NK[..., 0], base_RN, theta_RP[:, -1:])
        by_theta_RNKP = np.zeros((*parameters_RN.shape, 2, num))
        by_base_RN1 = np.where(within_RN, 0.0, by_base_RN)[..., None]
        by_theta_RNKP[:, :, 0, :4] = by_base_RN1 * by_inner_RNI
        by_theta_RNKP[:, :, 0, -1] = by_excess_RN
        by_theta_RNKP[:, :, 1, -2] = by_repeats_RN
        return np.stack([parameters_RN, samples_RN], axis=2), by_theta_RNKP

    def _optimal_parameters(self, theta_RP: Floats, unique_N: Floats) -> tuple[Floats, Floats]:
        """ln of the parameters that are optimal for the unique samples [R, N]; derivatives by the four of the terms."""
        exponent_RK = np.exp(theta_RP[:, 2:4])
        by_scale_R1, ratio_R1 = 1 / exponent_RK[:, :1], exponent_RK[:, 1:] / exponent_RK[:, :1]
        relative_R1 = theta_RP[:, :1] + theta_RP[:, 2:3] - theta_RP[:, 1:2] - theta_RP[:, 3:4]
        optimal_RN = by_scale_R1 * relative_R1 + ratio_R1 * unique_N
        one_RN = np.ones_like(optimal_RN)
        columns = [
            by_scale_R1 * one_RN,
            -by_scale_R1 * one_RN,
            by_scale_R1 - optimal_RN,
            ratio_R1 * unique_N - by_scale_R1 * one_RN,
        ]
        return optimal_RN, np.stack(columns, axis=2)


def worth(all_N: Floats, base_RN: Floats, log_repeats_R1: Floats) -> tuple[Floats, Floats, Floats]:
    """ln of what is effective of `all` [R, N], and derivatives by log repeats and by base; arguments are logarithms."""
    repeats_R1 = np.exp(log_repeats_R1)
    excess_RN = np.expm1(np.clip(all_N - base_RN, 0.0, LARGEST))
    left_RN = np.exp(-excess_RN / repeats_R1)
    gain_RN = repeats_R1 * -np.expm1(-excess_RN / repeats_R1)
    effective_RN = base_RN + np.log1p(gain_RN)
    by_repeats_RN = (gain_RN - excess_RN * left_RN) / (1 + gain_RN)
    by_base_RN = 1 - left_RN * (1 + excess_RN) / (1 + gain_RN)
    return np.asarray(effective_RN), np.asarray(by_repeats_RN), np.asarray(by_base_RN)


def _surface(form: Form) -> PowerSum | Bounded:
    assert isinstance(form, PowerSum | Bounded), "the limit of a surface is a surface"
    return form
