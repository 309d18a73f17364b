"""One fitting problem: the points, what is minimised, the landscape over the exponent, what the points bound.

Shapes.  N points, G exponents of the grid, R resamplings.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import f as f_distribution

from analysis.laws import Floats, SaturatingPowerLaw
from analysis.projection import Projection, Start, project

NUM_EXPONENTS = 160  # 4.7 % steps over the decays below
# exponent x ln(largest / smallest compute), from a flat line to a single step, whatever the range of compute
LEAST_DECAY, MOST_DECAY = 0.02, 30.0
ZOOMS, ZOOM_EXPONENTS = 4, 17  # each zoom refines the exponent about fourfold
IDENTIFICATION_LEVEL = 0.95  # confidence of the profile interval of the exponent

Range = tuple[float | None, float | None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FitOptions:
    """What is minimised, and over which laws."""

    residual: Literal["error", "log_error"] = "error"  # error rates as they are, losses in logarithms
    ceiling: float = math.inf  # the floor stays below it; for an error rate the error of guessing
    fixed_floor: float | None = None
    huber_delta: float | None = None  # residuals beyond it count linearly; None: least squares
    num_starts: int = 6


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Points and options of one fit, with everything that does not depend on the parameters."""

    compute_N: Floats
    error_N: Floats
    reference_compute: float  # geometric mean of the compute values
    exponents_G: Floats
    options: FitOptions

    @classmethod
    def of(cls, compute: npt.ArrayLike, error: npt.ArrayLike, options: FitOptions) -> Problem:
        """The problem of these points; ValueError unless both are positive, finite and of one length."""
        compute_N, error_N = np.asarray(compute, dtype=np.float64), np.asarray(error, dtype=np.float64)
        if compute_N.ndim != 1 or compute_N.shape != error_N.shape:
            raise ValueError(f"compute and error must be lists of one length, not {compute!r} and {error!r}.")
        together = np.concatenate([compute_N, error_N])
        if not np.all(np.isfinite(together) & (together > 0)):
            raise ValueError(f"a law is fitted to positive, finite numbers, not {compute!r} and {error!r}.")
        log_compute_N = np.log(compute_N) if len(compute_N) else np.zeros(1)
        span = max(float(np.ptp(log_compute_N)), 1e-6)
        return cls(
            compute_N=compute_N,
            error_N=error_N,
            reference_compute=math.exp(float(np.mean(log_compute_N))),
            exponents_G=np.geomspace(LEAST_DECAY, MOST_DECAY, NUM_EXPONENTS) / span,
            options=options,
        )

    def resampled(self, multiplicity_N: Floats) -> Problem:
        """The problem with each point repeated; reference and grid stay those of the original points."""
        rows = np.repeat(np.arange(len(self.error_N)), multiplicity_N.astype(int))
        return dataclasses.replace(self, compute_N=self.compute_N[rows], error_N=self.error_N[rows])

    @property
    def num_compute_values(self) -> int:
        """Number of distinct compute values."""
        return len(np.unique(self.compute_N))

    @property
    def target_N(self) -> Floats:
        """What the residuals are taken from: the errors or their logarithms."""
        return np.log(self.error_N) if self.options.residual == "log_error" else self.error_N

    @property
    def flat_objective(self) -> float:
        """Sum of squared residuals of the best constant."""
        return float(np.sum((self.target_N - np.mean(self.target_N)) ** 2))

    def linearise(self, law: SaturatingPowerLaw) -> tuple[Floats, Floats, Floats]:
        """Residuals (predicted - target), their slope by the predicted error, and Huber weights, each [N]."""
        predicted_N, log_residual = law.predict(self.compute_N), self.options.residual == "log_error"
        residual_N = (np.log(predicted_N) if log_residual else predicted_N) - self.target_N
        slope_N = 1 / predicted_N if log_residual else np.ones_like(predicted_N)
        delta = math.inf if self.options.huber_delta is None else self.options.huber_delta
        robust_N = np.minimum(1.0, delta / np.maximum(np.abs(residual_N), 1e-300))
        return residual_N, slope_N, robust_N

    def landscape(self, multiplicity_RN: Floats) -> Projection:
        """Best amplitudes for every exponent of the grid, per row of multiplicities of the points.

        Squared errors, or squared relative errors where the residuals are logarithmic.
        """
        logarithmic = self.options.residual == "log_error"
        weight_RN = multiplicity_RN / self.error_N**2 if logarithmic else multiplicity_RN
        return self._project(self.error_N, weight_RN, self.exponents_G)

    def starts(self) -> list[Start]:
        """The best exponent of the grid and others spread evenly over it, each with its best amplitudes."""
        landscape = self.landscape(np.ones((1, len(self.error_N))))
        spread = np.linspace(0, NUM_EXPONENTS - 1, self.options.num_starts + 1).astype(int)[1:-1]
        chosen = [int(np.argmin(landscape.squared_error_RG[0])), *map(int, spread)]
        return [landscape.at(0, index) for index in chosen]

    def zoom(self, start: Start) -> Start:
        """A start moved to the bottom of its valley: ever finer exponents, linearised at the law so far."""
        step = float(self.exponents_G[1] / self.exponents_G[0])
        for _ in range(ZOOMS):
            exponents = start.exponent * np.geomspace(1 / step, step, ZOOM_EXPONENTS)
            target_N, weight_N = self._linear_problem(start.law(self.reference_compute))
            projection = self._project(target_N, weight_N[None], exponents)
            start = projection.at(0, int(np.argmin(projection.squared_error_RG[0])))
            step = step ** (4 / ZOOM_EXPONENTS)
        return start

    def exponent_range(self, law: SaturatingPowerLaw) -> Range:
        """The 95 % profile interval of the exponent, to one step of the grid; None on a side left open.

        At each exponent floor and scale are refitted to the residuals linearised at `law`; the interval holds
        what an F test does not reject (Raue 2009).
        """
        target_N, weight_N = self._linear_problem(law)
        exponents = np.sort(np.append(self.exponents_G, law.exponent))
        profile = self._project(target_N, weight_N[None], exponents).squared_error_RG[0]
        freedom = len(self.error_N) - (3 if self.options.fixed_floor is None else 2)
        excess = float(f_distribution.ppf(IDENTIFICATION_LEVEL, 1, freedom)) / freedom
        inside = np.flatnonzero(profile <= profile.min() * (1 + excess) + 1e-12 * self.flat_objective)
        lower = None if inside[0] == 0 else float(exponents[inside[0]])
        return lower, None if inside[-1] == len(exponents) - 1 else float(exponents[inside[-1]])

    def _linear_problem(self, law: SaturatingPowerLaw) -> tuple[Floats, Floats]:
        """Targets and weights [N]: their weighted squared error is the objective to first order at `law`."""
        residual_N, slope_N, robust_N = self.linearise(law)
        return law.predict(self.compute_N) - residual_N / slope_N, robust_N * slope_N**2

    def _project(self, target_N: Floats, weight_RN: Floats, exponents_G: Floats) -> Projection:
        centred_N = np.log(self.compute_N / self.reference_compute)
        ceiling, fixed_floor = self.options.ceiling, self.options.fixed_floor
        return project(centred_N, target_N, weight_RN, exponents_G, ceiling=ceiling, fixed_floor=fixed_floor)
