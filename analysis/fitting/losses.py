"""How residuals are counted: squares, Huber, absolute values.

Shapes.  N points, R laws.  All functions work on any leading dimensions.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from analysis.forms.form import Floats

HUBER_SCALES = 1.345  # standard deviations: 95 % efficient if normal (Huber 1981; Holland & Welsch 1977)
CONSISTENT = 1 / float(norm.ppf(0.75))  # median absolute deviation -> standard deviation of normal residuals
LARGEST_DELTA = 1e200  # stands for infinity: no residual is beyond it
BISECTIONS = 80  # halves an interval to less than double precision


def residual_scale(residual_RN: Floats, num_parameters: int) -> Floats:
    """Robust standard deviation [R] of residuals around 0: their median absolute value, made consistent.

    The smallest `num_parameters` of them are left out (DuMouchel & O'Brien 1989): a law can pass through so many
    points, and with few points the median would be among those.
    """
    size_RN = np.sort(np.abs(residual_RN), axis=-1)
    return np.asarray(
        CONSISTENT * np.median(size_RN[..., min(num_parameters, size_RN.shape[-1] - 1) :], axis=-1)
    )


def huber(residual_RN: Floats, delta_R: Floats) -> Floats:
    """Huber's loss of each residual, r**2 / 2 within delta and delta (|r| - delta / 2) beyond (Huber 1964)."""
    inside_RN = huber_slope(residual_RN, delta_R)
    return np.asarray(inside_RN * (residual_RN - inside_RN / 2))


def huber_slope(residual_RN: Floats, delta_R: Floats) -> Floats:
    """Derivative of Huber's loss: the residual, cut at +-delta."""
    delta_R1 = np.asarray(delta_R)[..., None]
    return np.asarray(np.clip(residual_RN, -delta_R1, delta_R1))


def huber_weight(residual_RN: Floats, delta_R: Floats) -> Floats:
    """Weight of the square that has the slope of Huber's loss: min(1, delta / |r|)."""
    delta_R1 = np.minimum(delta_R, LARGEST_DELTA)[..., None]
    return np.asarray(delta_R1 / np.maximum(np.abs(residual_RN), delta_R1))


def best_constant(target_N: Floats, weight_N: Floats, delta: float) -> float:
    """The constant of least sum of huber(sqrt(weight) * (constant - target)): where its slope changes sign."""
    root_N, low, high = np.sqrt(weight_N), float(target_N.min()), float(target_N.max())
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        slope = float(np.sum(root_N * huber_slope(root_N * (middle - target_N), np.asarray(delta))))
        low, high = (low, middle) if slope > 0 else (middle, high)
    return (low + high) / 2
