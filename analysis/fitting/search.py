"""From the seeds of variable projection to the minima of the stated loss, from every start.

Huber's loss is reached from every seed on two ways: in stages from least squares to the wanted delta (graduated
non-convexity, Blake & Zisserman 1987), which outliers do not catch, and at once, which ends in other minima where
there are several (five on the data of Muennighoff 2023).  Absolute values are its limit, ended by linear programs.

Shapes.  N points, P parameters, S starts: seeds, and the same again on the second way.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.fitting.absolute import Corner, absolute_minimum
from analysis.fitting.descent import Minima, descend
from analysis.fitting.losses import HUBER_SCALES, best_constant, huber, residual_scale
from analysis.fitting.polish import polish
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats

AGREEMENT = 1e-6  # starts whose objectives differ relatively by less found the same minimum
ROUNDING = 1e-14  # of the objective of a constant: objectives closer than it are equal
UNCERTAIN = 1e-3  # remaining gain of a minimum that is none: more starts would not end either
MORE_STARTS = 4  # times as many, where a single start found the best minimum
STAGE = 10.0  # Huber's delta falls by it from one stage to the next
STAGE_STEPS = 50  # of a descent on the way: it need not end at the minimum
SCALE_ROUNDS = 2  # times the residual scale is measured, each time at the fit with the one before
EXACT = 1e-9  # of the spread of the targets: residuals below it are rounding, and squares count them as well
MAX_CORNERS = 4  # starts that are followed by linear programs: those of the least sums
CLOSE = 1e-5  # relative difference of objectives below which two starts go on as one
LIMIT = 1e-4  # of the residual scale: Huber's loss with such a delta is all but the absolute value


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """The minima that were found."""

    start_P: Floats  # the seed that led to the best minimum
    theta_P: Floats  # the best minimum
    objective_S: Floats  # of the minimum of each start
    delta: float  # Huber's; inf for squares, 0 for absolute values
    gradient_norm: float  # largest |derivative| by theta, objective scaled to 1 for the best constant
    remaining_gain: float  # share of the objective that the local model still promises
    constant_objective: float  # of the best constant

    @property
    def objective(self) -> float:
        """The least of all."""
        return float(self.objective_S.min())

    @property
    def num_agreeing(self) -> int:
        """Starts that ended in the best minimum."""
        tolerance = AGREEMENT * self.objective + ROUNDING * self.constant_objective
        return int(np.sum(self.objective_S - self.objective <= tolerance))

    @property
    def num_minima(self) -> int:
        """Distinct objectives among the starts."""
        ordered_S = np.sort(self.objective_S)
        tolerance_S = AGREEMENT * ordered_S[1:] + ROUNDING * self.constant_objective
        return 1 + int(np.sum(np.diff(ordered_S) > tolerance_S))


def search(problem: Problem) -> Search:
    """Minima from every start, and the best of them to the last digits; more starts where only one found it."""
    found = _search(problem, problem.options.num_starts)
    if found.num_agreeing > 1 or len(found.objective_S) == 1 or found.remaining_gain > UNCERTAIN:
        return found
    return _search(problem, MORE_STARTS * problem.options.num_starts)


def _search(problem: Problem, num_starts: int) -> Search:
    starts_SP = problem.seeds(num_starts)
    minima = descend(problem, starts_SP.copy())
    if problem.options.loss == "squares":
        return _smooth(problem, starts_SP, minima, np.inf)
    if problem.options.loss == "absolute":
        return _absolute(problem, starts_SP, minima)
    delta, minima = _huber(problem, minima)
    if delta == np.inf:
        return _smooth(problem, starts_SP, minima, delta)
    both = _joined(minima, descend(problem, starts_SP.copy(), delta_R=delta))
    return _smooth(problem, np.concatenate([starts_SP, starts_SP]), both, delta)


def _smooth(problem: Problem, starts_SP: Floats, minima: Minima, delta: float) -> Search:
    """The best of the minima of squares or Huber's loss."""
    best = int(np.argmin(minima.objective_R))
    polished = polish(problem, minima.theta_RP[best], delta)
    here = descend(problem, polished.theta_P[None].copy(), delta_R=delta, max_steps=0)
    return Search(
        start_P=starts_SP[best],
        theta_P=polished.theta_P,
        objective_S=np.where(np.arange(len(starts_SP)) == best, polished.objective, minima.objective_R),
        delta=delta,
        gradient_norm=float(here.gradient_R[0]),
        remaining_gain=polished.remaining_gain,
        constant_objective=_constant_objective(problem, delta),
    )


def _joined(some: Minima, others: Minima) -> Minima:
    return Minima(
        theta_RP=np.concatenate([some.theta_RP, others.theta_RP]),
        objective_R=np.concatenate([some.objective_R, others.objective_R]),
        gradient_R=np.concatenate([some.gradient_R, others.gradient_R]),
        num_steps=max(some.num_steps, others.num_steps),
    )


def _huber(problem: Problem, minima: Minima) -> tuple[float, Minima]:
    """Huber's delta, stated or from the residuals, and the minima with it; inf where residuals are rounding."""
    if problem.options.huber_delta is not None:
        return problem.options.huber_delta, graduated(problem, minima, problem.options.huber_delta)
    delta = np.inf
    for _ in range(SCALE_ROUNDS):
        best_P = minima.theta_RP[int(np.argmin(minima.objective_R))]
        delta = HUBER_SCALES * float(residual_scale(problem.residuals(best_P[None]), len(best_P))[0])
        if delta <= EXACT * spread(problem):
            return np.inf, minima
        minima = graduated(problem, minima, delta)
    return delta, minima


def graduated(problem: Problem, minima: Minima, delta: float) -> Minima:
    """Minima with this delta, reached from others through wider ones."""
    best_P = minima.theta_RP[int(np.argmin(minima.objective_R))]
    largest = float(np.abs(problem.residuals(best_P[None])).max())
    num_wider = max(0, int(np.ceil(np.log(max(largest, 1e-300) / delta) / np.log(STAGE))) - 1)
    for stage in range(num_wider, 0, -1):
        minima = descend(problem, minima.theta_RP, delta_R=delta * STAGE**stage, max_steps=STAGE_STEPS)
    return descend(problem, minima.theta_RP, delta_R=delta)


def spread(problem: Problem) -> float:
    """Standard deviation of the weighted targets: what there is to explain."""
    return float(np.sqrt(np.mean(problem.weight_N * (problem.target_N - np.mean(problem.target_N)) ** 2)))


def _absolute(problem: Problem, starts_SP: Floats, minima: Minima) -> Search:
    """The best corner of the absolute values."""
    best_P = minima.theta_RP[int(np.argmin(minima.objective_R))]
    delta = LIMIT * float(residual_scale(problem.residuals(best_P[None]), len(best_P))[0])
    if delta > EXACT * LIMIT * spread(problem):
        minima = _joined(graduated(problem, minima, delta), descend(problem, starts_SP.copy(), delta_R=delta))
        starts_SP = np.concatenate([starts_SP, starts_SP])
    objective_S = np.abs(problem.residuals(minima.theta_RP)).sum(axis=1)
    corners: list[tuple[int, Corner]] = []
    for start in _distinct(objective_S)[:MAX_CORNERS]:
        corner = absolute_minimum(problem, minima.theta_RP[start])
        same_S = np.abs(objective_S - objective_S[start]) <= CLOSE * objective_S[start]
        objective_S = np.where(same_S, corner.objective, objective_S)
        corners.append((start, corner))
    start, corner = min(corners, key=lambda pair: pair[1].objective)
    constant = _constant_objective(problem, 0.0)
    return Search(
        start_P=starts_SP[start],
        theta_P=corner.theta_P,
        objective_S=objective_S,
        delta=0.0,
        gradient_norm=corner.gain / (constant + 1e-300),
        remaining_gain=corner.gain / (corner.objective + EXACT * constant + 1e-300),
        constant_objective=constant,
    )


def _distinct(objective_S: Floats) -> list[int]:
    """The first start of each objective, the least first: the others are at the same place."""
    order = [int(start) for start in np.argsort(objective_S, kind="stable")]
    steps = np.diff(objective_S[order]) > CLOSE * objective_S[order[:-1]]
    return [order[0], *(order[place + 1] for place in np.flatnonzero(steps))]


def _constant_objective(problem: Problem, delta: float) -> float:
    """The objective of the best constant; delta 0 is the sum of absolute values."""
    width = delta if delta > 0 else LIMIT * spread(problem) + 1e-300
    constant = best_constant(problem.target_N, problem.weight_N, width)
    residual_N = np.sqrt(problem.weight_N) * (constant - problem.target_N)
    return float(np.abs(residual_N).sum() if delta == 0 else huber(residual_N, np.asarray(delta)).sum())
