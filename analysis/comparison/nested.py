"""How much two objectives have in common: laws that share ever more parameters, each tested against the one before.

all different > same exponents > same floor > pure compute multiplier.  With the last, the studied objective is at
every tower as good as the rival with a constant multiple of its samples; the same exponents and floor alone make the
ratio constant only along the frontier of a continuous menu.

F on squares, its p-value from a wild cluster bootstrap with the restriction imposed (Cameron, Gelbach & Miller 2008):
signs are those of the clusters, shared by both objectives, so that neither unequal nor paired noise distorts it.

Shapes.  N points of both objectives, P parameters, R refits.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import f as f_distribution

from analysis.comparison.joint import OBJECTIVE, RIVAL, STUDIED, JointForm
from analysis.comparison.side import Side
from analysis.fitting.descent import Minima, descend
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats, Form
from analysis.intervals.wild import too_few, wild_draws

NUM_REFITS = 499
DATA_SCALES = ("scale_samples_seen", "scale_train_flops")  # what a multiple of the samples changes


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NestedTest:
    """Whether sharing more parameters fits worse than the noise allows."""

    restriction: str  # "same exponents", "same floor", "pure compute multiplier"
    against: str  # the less restricted law
    num_restrictions: int
    degrees_of_freedom: int
    f_statistic: float
    p_value: float  # wild cluster bootstrap
    p_value_f: float  # F distribution: right for equal independent noise only
    num_refits: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Level:
    name: str
    form: JointForm
    problem: Problem
    theta_1P: Floats
    objective: float  # half the sum of squares


def nested_tests(
    studied: Side, rival: Side, *, num_refits: int = NUM_REFITS, seed: int = 0
) -> tuple[tuple[NestedTest, ...], str]:
    """The tests, from the least to the most restricted law, or none and the reason why."""
    base, other = studied.asked.form, rival.asked.form
    if base != other:
        return (
            (),
            f"{studied.objective} has a {base.name} and {rival.objective} a {other.name}: nothing to share",
        )
    points = stacked(studied, rival)
    forms = restrictions(base)
    if len(points) <= 2 * len(base.parameters):
        return (), f"{len(points)} points do not test {2 * len(base.parameters)} parameters"
    too_few_clusters = too_few(points.num_clusters)
    if too_few_clusters:
        return (), too_few_clusters
    levels: list[_Level] = []
    for name, shared in forms:
        levels.append(_fitted(name, JointForm(base=base, shared=shared), points, studied, levels))
    tests = [_tested(levels[row], levels[row - 1], points, num_refits, seed) for row in range(1, len(levels))]
    return tuple(tests), ""


def restrictions(base: Form) -> list[tuple[str, tuple[str, ...]]]:
    """Names and shared parameters of the nested laws of a form, each sharing more than the one before."""
    scales = [name for name in base.parameters if name.startswith("scale_")]
    shapes = [name for name in base.parameters if name not in (*scales, "floor")]
    free = [name for name in scales if name in DATA_SCALES]
    wanted = [
        ("all different", []),
        ("same exponents", shapes),
        ("same floor", [*shapes, "floor"]),
        ("pure compute multiplier", [*shapes, "floor", *(name for name in scales if name not in free)]),
    ]
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, shared in wanted if free else wanted[:3]:
        chosen = tuple(parameter for parameter in base.parameters if parameter in shared)
        if found and chosen == found[-1][1]:
            if name == "pure compute multiplier" and len(found) > 1:
                found[-1] = (name, chosen)  # with compute alone, the same law up to its scale is just that
            continue
        found.append((name, chosen))
    return found


def stacked(studied: Side, rival: Side) -> Observations:
    """The points of both, the rival's first, with the objective as a covariate; variances only if both have them."""
    sides = (rival.fit.observations, studied.fit.observations)
    names = studied.asked.form.covariates
    variances = [side.variance_N for side in sides if side.variance_N is not None]
    columns = {name: np.concatenate([side.covariates[name] for side in sides]) for name in names}
    labels = np.repeat([RIVAL, STUDIED], [len(side) for side in sides])
    return Observations.of(
        np.concatenate([side.error_N for side in sides]),
        variance=np.concatenate(variances) if len(variances) == len(sides) else None,
        clusters=[label for side in sides for label in side.clusters],
        run_ids=[run_id for side in sides for run_id in side.run_ids],
        **columns,
        **{OBJECTIVE: labels},
    )


def _fitted(name: str, form: JointForm, points: Observations, studied: Side, before: list[_Level]) -> _Level:
    """The least-squares law of a level; the one before it gives a start besides the seeds."""
    options = FitOptions(residual=studied.fit.options.residual, loss="squares")
    references = {
        column: float(np.exp(np.mean(np.log(points.covariates[column])))) for column in form.base.covariates
    }
    problem = Problem.of(points, form, options, references=references | {OBJECTIVE: RIVAL})
    starts = [problem.seeds()]
    for level in before[-1:]:
        starts.append(form.join(*(level.form.part(level.theta_1P[0], side) for side in (0, 1)))[None])
    minima = descend(problem, np.concatenate(starts))
    best = int(np.argmin(minima.objective_R))
    return _Level(
        name=name,
        form=form,
        problem=problem,
        theta_1P=minima.theta_RP[[best]],
        objective=float(minima.objective_R[best]),
    )


def _tested(level: _Level, against: _Level, points: Observations, num_refits: int, seed: int) -> NestedTest:
    """Whether a level is rejected in favour of the one before it."""
    dropped = len(against.form.parameters) - len(level.form.parameters)
    left = len(points) - len(against.form.parameters)
    opened = descend(against.problem, _opened(level, against, level.theta_1P))
    free = min(against.objective, float(opened.objective_R[0]))
    statistic = _f_statistic(np.asarray([level.objective]), np.asarray([free]), dropped, left)[0]
    drawn_R = _drawn_statistics(level, against, points, num_refits, seed)
    return NestedTest(
        restriction=level.name,
        against=against.name,
        num_restrictions=dropped,
        degrees_of_freedom=left,
        f_statistic=float(statistic),
        p_value=float((1 + np.sum(drawn_R >= statistic)) / (1 + len(drawn_R))),
        p_value_f=float(f_distribution.sf(statistic, dropped, left)),
        num_refits=num_refits,
    )


def _drawn_statistics(
    level: _Level, against: _Level, points: Observations, num_refits: int, seed: int
) -> Floats:
    """F statistics [R] of worlds in which the restriction holds: its law plus its residuals, flipped by cluster."""
    sign_RN = wild_draws(points.clusters, num_refits, seed).of(points.clusters)
    residual_N = level.problem.residuals(level.theta_1P)[0] / np.sqrt(level.problem.weight_N)
    target_RN = level.problem.target_N + residual_N - sign_RN * residual_N
    restricted = descend(level.problem, np.tile(level.theta_1P, (num_refits, 1)), target_RN=target_RN)
    free: Minima = descend(against.problem, _opened(level, against, restricted.theta_RP), target_RN=target_RN)
    dropped = len(against.form.parameters) - len(level.form.parameters)
    left = len(points) - len(against.form.parameters)
    return _f_statistic(restricted.objective_R, free.objective_R, dropped, left)


def _opened(level: _Level, against: _Level, theta_RP: Floats) -> Floats:
    """The same laws in the coordinates of the less restricted form."""
    parts = [level.form.part(theta_RP, side) for side in (0, 1)]
    return np.stack(
        [against.form.join(rival_P, studied_P) for rival_P, studied_P in zip(*parts, strict=True)]
    )


def _f_statistic(restricted_R: Floats, free_R: Floats, dropped: int, left: int) -> Floats:
    """(growth of the squares per restriction) / (squares per degree of freedom); 0 without any squares."""
    growth_R = np.maximum(restricted_R - free_R, 0.0) / dropped
    return np.asarray(growth_R / np.maximum(free_R / left, 1e-300))
