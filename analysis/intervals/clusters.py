"""How the points of a fit hang together: leverage of clusters, residuals corrected for it, degrees of freedom.

A fit is drawn towards its own points, so its residuals are too small, most of all in clusters with much leverage.
CR2, the cluster form of HC2 (MacKinnon & White 1985; Bell & McCaffrey 2002), multiplies the residuals of cluster g by
(I - H_gg)**-1/2, H being the hat matrix of the Jacobian, which makes the variance of linear fits unbiased.

Shapes.  N points, P parameters, G clusters.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.fitting.fit import Fit
from analysis.fitting.losses import huber_slope, residual_scale
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats

MAX_LEVERAGE = 0.999  # above it a cluster's residuals (a thousandth of its noise) say nothing about its noise
ABSOLUTE = 1e-3  # Huber delta, in robust standard deviations, that counts residuals as absolute values do
CENTRE = 0.5  # robust standard deviations within which the density of residuals at 0 is counted


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """The clusters of a fit in the order of their labels, linearised at its law."""

    labels: tuple[str, ...]  # [G]
    rows: tuple[npt.NDArray[np.int64], ...]  # [G] indices of each cluster's points
    residual_N: Floats  # weighted
    # psi(residual) / E psi', what the loss makes of them: for squares the residuals themselves
    pseudo_N: Floats
    huber_delta: float  # of the loss: inf for squares, a thousandth of the noise for absolute values
    jacobian_NP: Floats
    inverse_PN: Floats  # pseudo-inverse of the Jacobian: parameters moved per change of target
    leverage_G: Floats  # largest eigenvalue of each H_gg, in [0, 1]
    root_G: tuple[Floats, ...]  # (I - H_gg)**-1/2, each [n_g, n_g]

    @property
    def corrected_N(self) -> Floats:
        """Weighted residuals [N], corrected for leverage."""
        return self._corrected(self.residual_N)

    @property
    def noise_variance(self) -> float:
        """Variance of a run of weight 1, on the scale of the residuals: outliers count in full."""
        return float(np.mean(self.corrected_N**2))

    @property
    def alone(self) -> tuple[str, ...]:
        """Clusters that alone determine part of the law, so that their residuals cannot show their noise."""
        return tuple(
            label for label, leverage in zip(self.labels, self.leverage_G) if leverage > MAX_LEVERAGE
        )

    def covariance(self) -> Floats:
        """CR2 covariance of theta [P, P] to first order, the loss having the same curvature at every point."""
        corrected_N = self._corrected(self.pseudo_N)
        moved_GP = np.stack([self.inverse_PN[:, rows] @ corrected_N[rows] for rows in self.rows])
        return np.asarray(moved_GP.T @ moved_GP)

    def loading(self, gradient_P: Floats) -> Floats:
        """Weights [G, N] of the true noise of each point in what each cluster adds to a quantity's error.

        The CR2 variance of the quantity is the sum over clusters of (loading @ noise)**2.
        """
        corrected_NN = np.zeros((len(self.residual_N),) * 2)
        for rows, root in zip(self.rows, self.root_G, strict=True):
            corrected_NN[np.ix_(rows, rows)] = root
        residual_NN = np.eye(len(corrected_NN)) - self.jacobian_NP @ self.inverse_PN
        weight_N = gradient_P @ self.inverse_PN
        by_point_NN = (weight_N[:, None] * corrected_NN) @ residual_NN
        return np.stack([by_point_NN[rows].sum(axis=0) for rows in self.rows])

    def _corrected(self, residual_N: Floats) -> Floats:
        corrected_N = np.empty_like(residual_N)
        for rows, root in zip(self.rows, self.root_G, strict=True):
            corrected_N[rows] = root @ residual_N[rows]
        return corrected_N


def clusters_of(fit: Fit, problem: Problem) -> Clusters:
    """The clusters of a fit that has a law."""
    theta_1P = np.asarray([fit.found.theta])
    residual_N, jacobian_NP = (part[0] for part in problem.linearised(theta_1P))
    return linear_clusters(fit, residual_N, jacobian_NP)


def linear_clusters(fit: Fit, residual_N: Floats, jacobian_NP: Floats) -> Clusters:
    """The clusters of a fit's points under a linear law with these weighted residuals and derivatives."""
    size_P = np.maximum(np.linalg.norm(jacobian_NP, axis=0), 1e-300)
    inverse_PN = np.linalg.pinv(jacobian_NP / size_P) / size_P[:, None]
    cluster_N = fit.observations.cluster_N
    rows = tuple(np.flatnonzero(cluster_N == index) for index in range(fit.observations.num_clusters))
    hat = tuple(jacobian_NP[mine] @ inverse_PN[:, mine] for mine in rows)
    leverage_G, root_G = zip(*(_leverage_and_root(hat_NN) for hat_NN in hat), strict=True)
    return Clusters(
        labels=tuple(sorted(set(fit.observations.clusters))),
        rows=rows,
        residual_N=residual_N,
        pseudo_N=pseudo_residuals(fit, residual_N),
        huber_delta=_huber_delta(fit, residual_N),
        jacobian_NP=jacobian_NP,
        inverse_PN=inverse_PN,
        leverage_G=np.asarray(leverage_G),
        root_G=root_G,
    )


def degrees_of_freedom(loading_GN: Floats) -> float:
    """Satterthwaite's degrees of freedom of a CR2 variance under equal independent noise (Bell & McCaffrey 2002).

    For a quantity of two fits with the same clusters, join their loadings along the points.
    """
    gram_GG = loading_GN @ loading_GN.T
    squared = float(np.sum(gram_GG**2))
    most = float(max(len(loading_GN) - 1, 1))
    return min(most, float(np.trace(gram_GG)) ** 2 / squared) if squared else most


def loss_slope(fit: Fit, residual_N: Floats) -> tuple[Floats, float]:
    """psi(residual) [N], the derivative of the loss, and the mean of its own derivative, E psi'.

    For a Huber loss E psi' is the share of residuals within delta; for a delta far below the noise, and for absolute
    values, it is 2 delta times their density at 0, counted within `CENTRE` robust standard deviations.
    """
    delta = _huber_delta(fit, residual_N)
    if np.isinf(delta):
        return residual_N, 1.0
    within = max(delta, CENTRE * float(residual_scale(residual_N, len(fit.form.parameters))))
    slope = float(np.mean(np.abs(residual_N) <= within)) * delta / within
    return huber_slope(residual_N, np.asarray(delta)), slope


def pseudo_residuals(fit: Fit, residual_N: Floats) -> Floats:
    """psi(residual) / E psi' [N]: least squares with them has the first-order spread of the robust fit (Huber 1973)."""
    psi_N, slope = loss_slope(fit, residual_N)
    return psi_N / max(slope, 1e-300)


def _huber_delta(fit: Fit, residual_N: Floats) -> float:
    if fit.options.loss == "squares":
        return np.inf
    if fit.options.loss == "absolute":
        return ABSOLUTE * float(residual_scale(residual_N, len(fit.form.parameters)))
    assert fit.evidence is not None, "a fit with a law has evidence"
    return np.inf if fit.evidence.huber_delta is None else fit.evidence.huber_delta


def _leverage_and_root(hat_NN: Floats) -> tuple[float, Floats]:
    """Largest eigenvalue of a cluster's hat matrix and (I - H)**-1/2, 0 along what the cluster determines alone."""
    eigenvalue_N, vector_NN = np.linalg.eigh((hat_NN + hat_NN.T) / 2)
    free_N = 1 - eigenvalue_N
    factor_N = np.where(free_N > 1e-9, 1 / np.sqrt(np.maximum(free_N, 1e-9)), 0.0)
    return float(eigenvalue_N[-1]), (vector_NN * factor_N) @ vector_NN.T
