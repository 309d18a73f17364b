"""How far estimate / standard error strays when few clusters carry the standard error: its exact distribution.

The CR2 variance of an estimate is a sum of lambda_i chi2_1, lambda being the eigenvalues of the Gram matrix of the
cluster loadings (Bell & McCaffrey 2002), independent of the estimate under equal normal noise.  Satterthwaite's t
matches two moments and is far too wide where one eigenvalue dominates (4.9 for 3.7 standard errors at shares .71, .21,
.07), so the tail is computed, by Imhof's inversion of the characteristic function (Biometrika 1961, eq. 3.2).

Shapes.  C clusters, N points, E eigenvalues, U nodes.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from analysis.forms.form import Floats

LOG_NODES_U = np.linspace(-36.0, 36.0, 241)  # of ln u: the integrand falls exponentially on both sides
MOST_DEGREES = 1e4  # of freedom: a normal distribution
LEAST_SHARE = 1e-9  # of the largest eigenvalue; smaller ones are rounding


def tail(quantile: float, eigenvalue_E: Floats) -> float:
    """P(|estimate - truth| > quantile standard errors)."""
    coefficient_E = np.concatenate([[1.0], -(quantile**2) * eigenvalue_E / eigenvalue_E.sum()])
    scaled_EU = coefficient_E[:, None] * np.exp(LOG_NODES_U)
    angle_U = np.arctan(scaled_EU).sum(axis=0) / 2
    log_size_U = np.log1p(scaled_EU**2).sum(axis=0) / 4
    step = LOG_NODES_U[1] - LOG_NODES_U[0]
    return float(0.5 + np.sum(np.sin(angle_U) * np.exp(-log_size_U)) * step / np.pi)


def equivalent_degrees_of_freedom(loading_CN: Floats, level: float) -> float:
    """Degrees of freedom of the t distribution that has the same two-sided quantile at `level`.

    At most clusters - 1: the noise of clusters is not known to be equal.
    """
    most = float(max(len(loading_CN) - 1, 1))
    eigenvalue_E = np.linalg.eigvalsh(loading_CN @ loading_CN.T)
    eigenvalue_E = eigenvalue_E[eigenvalue_E > LEAST_SHARE * max(eigenvalue_E[-1], 1e-300)]
    if not len(eigenvalue_E):
        return most
    quantile = float(brentq(lambda ratio: tail(ratio, eigenvalue_E) - (1 - level), 0.1, 1e4, xtol=1e-5))
    return min(most, _degrees_with(quantile, level))


def _degrees_with(quantile: float, level: float) -> float:
    """Degrees of freedom of the t distribution with this quantile, between 1 and `MOST_DEGREES`."""

    def excess(log_degrees: float) -> float:
        return float(stdtrit(np.exp(log_degrees), (1 + level) / 2)) - quantile

    least, most = 0.0, float(np.log(MOST_DEGREES))
    if excess(least) <= 0:
        return 1.0
    if excess(most) >= 0:
        return MOST_DEGREES
    return float(np.exp(brentq(excess, least, most, xtol=1e-5)))
