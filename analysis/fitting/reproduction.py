"""Estimators of earlier work, for reproducing it only: lines through the best points in log-log axes.

Best points are lucky points, and the bin's centre is not where its best point lies; frontiers of this project come
from fitted surfaces (analysis.frontier).

Shapes.  N points, B of them chosen.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.forms.form import Floats


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """error = scale * x**exponent, a straight line in log-log axes; the scale is for bare x."""

    scale: float
    exponent: float  # negative where errors fall

    def predict(self, x: npt.ArrayLike) -> Floats:
        """Errors of x, in its own unit."""
        return np.asarray(self.scale * np.asarray(x, dtype=float) ** self.exponent)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """Chosen points, in the units they came in, by increasing x."""

    x_B: Floats
    error_B: Floats


def binned_min(x: npt.ArrayLike, error: npt.ArrayLike, *, num_bins: int = 5, beyond: float = 0.1) -> Best:
    """The least error of each of equal bins of log10(x), at the centre of the bin; empty bins are left out.

    The bins of Cherti 2023 end `beyond` decades above the largest x.
    """
    x_N, error_N = _columns(x, error)
    if num_bins < 1 or not beyond >= 0:
        raise ValueError(f"num_bins {num_bins} is at least 1, beyond {beyond} at least 0.")
    edges = np.linspace(np.log10(x_N.min()), np.log10(x_N.max()) + beyond, num_bins + 1)
    bin_N = np.clip(np.digitize(np.log10(x_N), edges) - 1, 0, num_bins - 1)
    filled = np.unique(bin_N)
    return Best(
        x_B=10 ** ((edges[filled] + edges[filled + 1]) / 2),
        error_B=np.asarray([error_N[bin_N == index].min() for index in filled]),
    )


def pareto_points(x: npt.ArrayLike, error: npt.ArrayLike) -> Best:
    """Points that no other beats at equal or less x."""
    x_N, error_N = _columns(x, error)
    order = np.lexsort((error_N, x_N))
    before_N = np.concatenate([[np.inf], np.minimum.accumulate(error_N[order])[:-1]])
    kept = order[error_N[order] < before_N]
    return Best(x_B=x_N[kept], error_B=error_N[kept])


def pareto_bins(x: npt.ArrayLike, error: npt.ArrayLike, *, factor: float = 2.0) -> Best:
    """The least error of each bin of x that spans `factor`, where the point lies, if no cheaper bin beats it.

    The naive frontier of Nezhurina 2025, with bins counted from the smallest x.
    """
    x_N, error_N = _columns(x, error)
    if not factor > 1:
        raise ValueError(f"factor {factor} is above 1.")
    bin_N = np.floor(np.log(x_N / x_N.min()) / np.log(factor) + 1e-9).astype(np.int64)
    best = [np.flatnonzero(bin_N == index) for index in np.unique(bin_N)]
    rows = np.asarray([rows[np.argmin(error_N[rows])] for rows in best])
    return pareto_points(x_N[rows], error_N[rows])


def log_log_line(x: npt.ArrayLike, error: npt.ArrayLike) -> LogLine:
    """Ordinary least squares of log error on log x."""
    x_N, error_N = _columns(x, error)
    if len(np.unique(x_N)) < 2:
        raise ValueError(f"a line needs two distinct x, not {x_N.tolist()}.")
    log_x_N, log_error_N = np.log(x_N), np.log(error_N)
    centred_N = log_x_N - log_x_N.mean()
    exponent = float(centred_N @ log_error_N / (centred_N @ centred_N))
    return LogLine(
        scale=float(np.exp(log_error_N.mean() - exponent * log_x_N.mean())),
        exponent=exponent,
    )


def _columns(x: npt.ArrayLike, error: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Two columns of positive, finite numbers of one length, or ValueError."""
    x_N, error_N = np.asarray(x, dtype=float), np.asarray(error, dtype=float)
    if x_N.ndim != 1 or x_N.shape != error_N.shape or not len(x_N):
        raise ValueError(f"x {x_N.shape} and error {error_N.shape} must be columns of one length, not empty.")
    if not (np.all(np.isfinite(x_N) & (x_N > 0)) and np.all(np.isfinite(error_N) & (error_N > 0))):
        raise ValueError("x and error must be positive and finite; leave other rows out.")
    return x_N, error_N
