"""Power terms: what every sum of powers is made of, bounded or not.

Shapes.  N points, K covariates, P parameters, R laws.
"""

from __future__ import annotations

import numpy as np

from analysis.forms.form import Floats

# exponent x ln(largest / smallest covariate), from a flat line to a single step, whatever the range of the covariate
LEAST_DECAY, MOST_DECAY = 0.005, 40.0
FARTHEST = 30.0  # bound on log amplitudes and log floors, relative to the largest error
LARGEST = 200.0  # |logarithm| of a term far outside the points; keeps its square finite


def power_terms(theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
    """Terms [R, N, K] and their derivatives by log exponents [R, N, K]; those by log amplitudes are the terms.

    theta holds K log amplitudes, then K log exponents, then anything.
    """
    num_covariates = x_NK.shape[-1]
    log_scale_RK = theta_RP[:, :num_covariates]
    decay_RNK = term_exponents(theta_RP, num_covariates)[:, None, :] * x_NK
    term_RNK = np.exp(np.clip(log_scale_RK[:, None, :] - decay_RNK, -LARGEST, LARGEST))
    return term_RNK, -decay_RNK * term_RNK


def term_exponents(theta_RP: Floats, num_covariates: int) -> Floats:
    """Exponents [R, K]."""
    return np.asarray(np.exp(theta_RP[:, num_covariates : 2 * num_covariates]))


def exponent_bounds(x_NK: Floats) -> tuple[Floats, Floats]:
    """Lower and upper ends [K] of the log exponents."""
    span_K = np.maximum(np.ptp(x_NK, axis=0), 1e-6)
    return np.log(LEAST_DECAY / span_K), np.log(MOST_DECAY / span_K)


def with_term_bounds(
    x_NK: Floats, size: float, lower: list[float], upper: list[float]
) -> tuple[Floats, Floats]:
    """Bounds [P] of power terms whose sum is of this size, followed by those of further parameters."""
    low_K, high_K = exponent_bounds(x_NK)
    middle, num = float(np.log(size)), x_NK.shape[1]
    lower_P = np.concatenate([np.full(num, middle - FARTHEST), low_K, lower])
    return lower_P, np.concatenate([np.full(num, middle + FARTHEST), high_K, upper])


def term_parameters(covariates: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the parameters of the power terms, in the order of theta."""
    return (*(f"scale_{name}" for name in covariates), *(f"exponent_{name}" for name in covariates))


def power_formula(terms: tuple[str, ...]) -> str:
    """scale_x * (x / reference)**-exponent_x + ..."""
    return " + ".join(f"scale_{name} * ({name} / reference)**-exponent_{name}" for name in terms)
