"""Variable projection: the best floor and scale of a law in closed form, for every exponent at once.

Shapes.  N points, G exponents, R resamplings (rows of weights).
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from analysis.laws import Floats, SaturatingPowerLaw

SMALLEST_SCALE = 1e-9  # keeps the logarithm of a scale finite


class Start(NamedTuple):
    """A law to start from."""

    floor: float
    scale: float
    exponent: float

    def law(self, reference_compute: float) -> SaturatingPowerLaw:
        """The start as a law."""
        return SaturatingPowerLaw(**self._asdict(), reference_compute=reference_compute)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """Best amplitudes and their weighted squared error, for each resampling and exponent."""

    exponents_G: Floats
    floor_RG: Floats
    scale_RG: Floats
    squared_error_RG: Floats

    def at(self, resampling: int, index: int) -> Start:
        """The best law of one resampling and one exponent; a scale of 0 is raised to SMALLEST_SCALE."""
        floor, scale = float(self.floor_RG[resampling, index]), float(self.scale_RG[resampling, index])
        return Start(floor, max(scale, SMALLEST_SCALE), float(self.exponents_G[index]))


def project(
    centred_N: Floats,
    error_N: Floats,
    weight_RN: Floats,
    exponents_G: Floats,
    *,
    ceiling: float = math.inf,
    fixed_floor: float | None = None,
) -> Projection:
    """Least squares of error ~ floor + scale * exp(-exponent * centred); 0 <= floor <= ceiling, scale >= 0.

    `centred_N` is log(compute / reference).  Two unknowns: the optimum is the free one where it is
    admissible, else on the violated bound, so non-negative least squares needs no iteration.
    """
    decay_GN = np.exp(-exponents_G[:, None] * centred_N)
    total_R1 = weight_RN.sum(axis=1, keepdims=True)
    mean_RG = weight_RN @ decay_GN.T / total_R1
    mean_error_R1 = (weight_RN @ error_N)[:, None] / total_R1
    square_RG = weight_RN @ (decay_GN**2).T / total_R1
    product_RG = (weight_RN * error_N) @ decay_GN.T / total_R1

    variance_RG = np.maximum(square_RG - mean_RG**2, 1e-300)
    slope_RG = (product_RG - mean_RG * mean_error_R1) / variance_RG
    floor_RG = np.clip(mean_error_R1 - slope_RG * mean_RG, 0.0, ceiling)
    if fixed_floor is not None:
        floor_RG = np.full_like(floor_RG, fixed_floor)
    scale_RG = (product_RG - floor_RG * mean_RG) / square_RG
    falling_RG = scale_RG > 0
    if fixed_floor is None:
        floor_RG = np.where(falling_RG, floor_RG, np.clip(mean_error_R1, 0.0, ceiling))
    scale_RG = np.where(falling_RG, scale_RG, 0.0)
    predicted_RGN = floor_RG[..., None] + scale_RG[..., None] * decay_GN
    squared_error_RG = np.einsum("rn,rgn->rg", weight_RN, (predicted_RGN - error_N) ** 2)
    return Projection(
        exponents_G=exponents_G, floor_RG=floor_RG, scale_RG=scale_RG, squared_error_RG=squared_error_RG
    )
