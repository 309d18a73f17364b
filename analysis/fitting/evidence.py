"""What a reader needs in order to believe, or not, that a law is the minimum and is determined by the points.

Shapes.  N points, P parameters, S starts.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.fitting.losses import residual_scale
from analysis.fitting.problem import Problem
from analysis.fitting.search import Search
from analysis.forms.form import Floats

AT_BOUND = 1e-6  # of theta


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """How the minimum was found, and how well the points determine it."""

    objective: float  # sum of the stated losses of the weighted residuals
    huber_delta: float | None  # that was used; None for squares and absolute values
    gradient_norm: float  # largest |derivative| by theta, objective scaled to 1 for the best constant
    remaining_gain: float  # share of the objective that the local model still promises: 0 at a minimum
    num_starts: int
    agreeing_share: float  # of the starts that ended in the best minimum
    num_minima: int  # distinct objectives among the starts
    moved: float  # largest change of a theta from the best start to the minimum
    bounds_hit: tuple[str, ...]  # parameters at a bound of the form
    lower_bounds_hit: tuple[str, ...]  # those of them that are at their lower one
    condition: float  # of the weighted Jacobian, columns scaled to 1; inf where a parameter changes nothing
    confounded: tuple[
        str, ...
    ]  # parameters that change together, or change nothing, in its flattest direction
    explained_share: float  # of the objective of the best constant
    residual_scale: float  # robust standard deviation of the weighted residuals, for the degrees of freedom
    degrees_of_freedom: int


def weigh(problem: Problem, found: Search) -> Evidence:
    """The evidence for what a search found."""
    names = problem.form.parameters
    residual_N, jacobian_NP = (part[0] for part in problem.linearised(found.theta_P[None]))
    condition, confounded = identifiability(jacobian_NP, names)
    lower_P, upper_P = problem.bounds
    low = tuple(name for name, at in zip(names, found.theta_P <= lower_P + AT_BOUND, strict=True) if at)
    high = tuple(name for name, at in zip(names, found.theta_P >= upper_P - AT_BOUND, strict=True) if at)
    freedom = len(residual_N) - len(names)
    return Evidence(
        objective=found.objective,
        huber_delta=found.delta if 0 < found.delta < np.inf else None,
        gradient_norm=found.gradient_norm,
        remaining_gain=found.remaining_gain,
        num_starts=len(found.objective_S),
        agreeing_share=found.num_agreeing / len(found.objective_S),
        num_minima=found.num_minima,
        moved=float(np.abs(found.theta_P - found.start_P).max()),
        bounds_hit=(*low, *high),
        lower_bounds_hit=low,
        condition=condition,
        confounded=confounded,
        explained_share=1 - found.objective / found.constant_objective if found.constant_objective else 0.0,
        residual_scale=float(residual_scale(residual_N, len(names))),
        degrees_of_freedom=freedom,
    )


def identifiability(jacobian_NP: Floats, names: tuple[str, ...]) -> tuple[float, tuple[str, ...]]:
    """Condition of the Jacobian with columns scaled to 1, and the parameters of its flattest direction."""
    size_P = np.linalg.norm(jacobian_NP, axis=0)
    if not np.all(size_P > 0):
        return np.inf, tuple(name for name, size in zip(names, size_P, strict=True) if not size > 0)
    size_S, direction_SP = np.linalg.svd(jacobian_NP / size_P, full_matrices=False)[1:]
    share_P = np.abs(direction_SP[-1]) / np.abs(direction_SP[-1]).max()
    confounded = tuple(name for name, share in zip(names, share_P, strict=True) if share > 0.1)
    return (float(size_S[0] / size_S[-1]) if size_S[-1] > 0 else np.inf), confounded
