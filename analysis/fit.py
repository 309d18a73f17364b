"""Fitting a law: several starts, and evidence instead of trust.

A fit is a value.  It carries either a law, with the evidence that the optimiser converged and that the points
determine it, or a typed status and the reason in words; a stuck or unidentified fit is never returned as a
number.

Shapes.  N points, R resamplings.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import numpy.typing as npt

from analysis.descent import Minimum, descend
from analysis.laws import Floats, SaturatingPowerLaw
from analysis.problem import NUM_EXPONENTS, FitOptions, Problem, Range

MIN_COMPUTE_VALUES = 4  # one more than the parameters of the law, so that the points can contradict it
MIN_REFIT_COMPUTE_VALUES = 3  # a resampling of few cells loses values; three still determine the curve
GRADIENT_TOLERANCE = 1e-5  # by the log parameters, objective scaled to 1 for the best constant
AGREEMENT = 1e-6  # starts whose objectives differ relatively by less found the same minimum


class FitStatus(enum.StrEnum):
    """Outcome of a fit; only `OK` carries a law."""

    OK = "ok"
    NOT_IDENTIFIED = "not_identified"  # the points do not determine the exponent
    TOO_FEW_POINTS = "too_few_points"
    MIXED_POINTS = "mixed_points"  # the points differ in more than size and samples
    STUCK = "stuck"  # the optimiser did not reach a stationary point


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A fitted law with its evidence, or why there is none."""

    status: FitStatus
    reason: str = ""  # in words, empty when ok
    law: SaturatingPowerLaw | None = None
    options: FitOptions
    num_points: int
    num_compute_values: int  # distinct
    objective: float | None = None  # sum of squared (or Huber) residuals
    explained_share: float | None = None  # of the squared residuals of the best constant
    gradient_norm: float | None = None  # by the log parameters, objective scaled to 1 for the best constant
    starts_agreeing: float | None = None  # share of the starts that ended in the best minimum
    exponent_range: Range | None = None  # 95 % profile interval, None: open side

    def __post_init__(self) -> None:
        if (self.law is None) == (self.status is FitStatus.OK) or bool(self.reason) == (self.law is not None):
            raise ValueError(
                f"a fit has either a law or a reason: {self.status}, {self.law}, {self.reason!r}"
            )


def fit_law(compute_N: npt.ArrayLike, error_N: npt.ArrayLike, options: FitOptions = FitOptions()) -> Fit:
    """The best saturating power law through the points, or the reason why none is stated.

    `compute_N` in training FLOPs, `error_N` in fractions or nats; ValueError unless both are positive and
    finite.
    """
    problem = Problem.of(compute_N, error_N, options)
    num_values = problem.num_compute_values
    bare = Fit(
        status=FitStatus.TOO_FEW_POINTS,
        reason=f"{num_values} distinct compute values, at least {MIN_COMPUTE_VALUES} are needed",
        options=options,
        num_points=len(problem.error_N),
        num_compute_values=num_values,
    )
    if num_values < MIN_COMPUTE_VALUES:
        return bare
    if problem.flat_objective < 1e-18 * float(np.sum(problem.error_N**2)):
        reason = "the error is the same at every compute"
        return dataclasses.replace(bare, status=FitStatus.NOT_IDENTIFIED, reason=reason)
    return _with_evidence(bare, problem, [descend(problem, start) for start in problem.starts()])


def _with_evidence(bare: Fit, problem: Problem, minima: list[Minimum]) -> Fit:
    best = min(minima, key=lambda minimum: minimum.objective)
    same = best.objective * (1 + AGREEMENT) + 1e-12 * problem.flat_objective
    exponent_range = problem.exponent_range(best.law)
    status, reason = _verdict(best, exponent_range)
    return dataclasses.replace(
        bare,
        status=status,
        reason=reason,
        law=best.law if status is FitStatus.OK else None,
        objective=best.objective,
        explained_share=1 - best.objective / problem.flat_objective,
        gradient_norm=best.gradient_norm,
        starts_agreeing=float(np.mean([minimum.objective <= same for minimum in minima])),
        exponent_range=exponent_range,
    )


def _verdict(best: Minimum, exponent_range: Range) -> tuple[FitStatus, str]:
    lower, upper = exponent_range
    if lower is None:
        reason = "exponent 0 is not excluded: the error does not fall beyond the scatter of the points"
        return FitStatus.NOT_IDENTIFIED, reason
    if upper is None:
        reason = "the points do not bound the exponent from above: a single step down is not excluded"
        return FitStatus.NOT_IDENTIFIED, reason
    if best.gradient_norm > GRADIENT_TOLERANCE:
        reason = f"the optimiser stopped where the gradient is still {best.gradient_norm:.1e}"
        return FitStatus.STUCK, reason
    return FitStatus.OK, ""


def refit_laws(
    compute_N: npt.ArrayLike, error_N: npt.ArrayLike, multiplicity_RN: Floats, options: FitOptions
) -> list[SaturatingPowerLaw | None]:
    """The law of each row of multiplicities; None where the resampled points do not determine one.

    One start per row, the best of the whole exponent grid.  A refit fails with fewer than three compute
    values, with its best exponent at either end of the grid (flat line, single step), or away from a
    stationary point.
    """
    problem = Problem.of(compute_N, error_N, options)
    landscape = problem.landscape(multiplicity_RN)
    laws: list[SaturatingPowerLaw | None] = []
    for row, multiplicity_N in enumerate(multiplicity_RN):
        resampled = problem.resampled(multiplicity_N)
        best = int(np.argmin(landscape.squared_error_RG[row]))
        if resampled.num_compute_values < MIN_REFIT_COMPUTE_VALUES or best in (0, NUM_EXPONENTS - 1):
            laws.append(None)
            continue
        minimum = descend(resampled, resampled.zoom(landscape.at(row, best)))
        laws.append(minimum.law if minimum.gradient_norm <= GRADIENT_TOLERANCE else None)
    return laws
