"""Scaling laws as objects: error as a function of training compute.

Shapes.  N points, P unconstrained parameters (2 with a fixed floor, else 3).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SaturatingPowerLaw:
    """error(C) = floor + scale * (C / reference_compute)**-exponent.   C: training FLOPs.

    `reference_compute` is the geometric mean of the fitted compute values, so `scale` is the reducible error
    at the centre of the design; with C in bare FLOPs scale and exponent would be correlated at 0.999
    (Besiroglu 2024). The form is unbounded above: it may exceed the error of guessing far below the fitted
    range.
    """

    floor: float  # irreducible error, >= 0
    scale: float  # reducible error at reference_compute, > 0
    exponent: float  # > 0
    reference_compute: float  # training FLOPs, > 0

    def __post_init__(self) -> None:
        positive = (self.scale, self.exponent, self.reference_compute)
        if self.floor < 0 or min(positive) <= 0 or not all(map(math.isfinite, (self.floor, *positive))):
            raise ValueError(
                f"{self}: a law needs floor >= 0 and finite, positive scale, exponent and reference."
            )

    def predict(self, compute_N: npt.ArrayLike) -> Floats:
        """Error at each training compute (FLOPs), same shape as the input."""
        centred_N = np.log(np.asarray(compute_N, dtype=np.float64) / self.reference_compute)
        return np.asarray(self.floor + self.scale * np.exp(-self.exponent * centred_N))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LogParameters:
    """The unconstrained coordinates in which a law is fitted: (log scale, log exponent[, floor coordinate]).

    Every point of the space is a valid law.  The floor lies in (0, ceiling): a logistic share of the ceiling
    for error rates (ceiling: the error of guessing), an exponential for losses (ceiling: infinity).  A floor
    of exactly 0 is the boundary of that space and is fitted as its own, smaller family with
    `fixed_floor=0.0`.
    """

    reference_compute: float
    ceiling: float = math.inf
    fixed_floor: float | None = None

    def law(self, parameters_P: Floats) -> SaturatingPowerLaw:
        """The law at the coordinates [P]."""
        floor = self._floor(parameters_P[2]) if self.fixed_floor is None else self.fixed_floor
        scale, exponent = math.exp(parameters_P[0]), math.exp(parameters_P[1])
        return SaturatingPowerLaw(
            floor=floor, scale=scale, exponent=exponent, reference_compute=self.reference_compute
        )

    def coordinates(self, floor: float, scale: float, exponent: float) -> Floats:
        """Coordinates [P] of a law; a floor on the boundary is moved just inside."""
        coordinates = [math.log(scale), math.log(exponent)]
        if self.fixed_floor is None:
            coordinates.append(self._floor_coordinate(floor, scale))
        return np.array(coordinates)

    def jacobian(self, parameters_P: Floats, compute_N: Floats) -> Floats:
        """Derivatives [N, P] of the predicted error by each coordinate."""
        law = self.law(parameters_P)
        centred_N = np.log(compute_N / self.reference_compute)
        reducible_N = law.predict(compute_N) - law.floor
        columns = [reducible_N, -law.exponent * centred_N * reducible_N]
        if self.fixed_floor is None:
            slope = law.floor * (1 - law.floor / self.ceiling)
            columns.append(np.full_like(compute_N, slope))
        return np.stack(columns, axis=1)

    def _floor(self, coordinate: float) -> float:
        if math.isinf(self.ceiling):
            return math.exp(coordinate)
        return self.ceiling * float(expit(coordinate))

    def _floor_coordinate(self, floor: float, scale: float) -> float:
        smallest = 1e-3 * min(scale, self.ceiling)
        inside = min(max(floor, smallest), 0.999 * self.ceiling)
        return math.log(inside) if math.isinf(self.ceiling) else math.log(inside / (self.ceiling - inside))
