"""What the conclusion hangs on: single runs, single cells, and the form of the law.

Shapes.  R laws, P parameters, G compute values of a grid.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from analysis.comparison.paired import REACH
from analysis.fitting.fit import Fit
from analysis.forms.form import Floats, Form
from analysis.frontier import frontier_errors
from analysis.intervals.asked import as_asked
from analysis.intervals.influence import influence
from analysis.selection.select import Candidate
from analysis.study.study import MetricStudy, ObjectiveStudy

GRID = 600  # compute values between which the studied frontier is interpolated

Quantity = Callable[[Floats], Floats]  # theta_RP -> values [R] or [R, M]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RatioByForm:
    """The equal-compute ratio at the reference compute, had both objectives been fitted with another form."""

    form: str
    ratio: float  # inf, 0: outside the computes that are believed
    is_used: bool  # the form of the conclusion


def ratio_by_form(study: MetricStudy) -> tuple[RatioByForm, ...]:
    """The ratio under every form that is admissible for both objectives; empty where there is no ratio."""
    sides, compute = _compared(study)
    if not sides:
        return ()
    studied, rival = ({one.forward.form: one.fit for one in admissible(side)} for side in sides)
    used = [side.fit.form for side in sides if side.fit]
    found: dict[tuple[Form, Form], RatioByForm] = {}  # two forms that end in the same simpler ones are one
    for form in (form for form in studied if form in rival):
        ended = studied[form].form, rival[form].form
        found[ended] = RatioByForm(
            form=ended[0].name if ended[0] == ended[1] else form.name,
            ratio=float(np.exp(_log_ratio(studied[form], rival[form], sides, compute))),
            is_used=list(ended) == used,
        )
    return tuple(found.values())


def influence_on_conclusion(study: MetricStudy) -> pd.DataFrame | None:
    """Per run: how the conclusion changes when it, or its cell, is left out; None where there is no law.

    `factor_without_run` and `factor_without_cluster` multiply the equal-compute ratio; where there is none, they
    multiply the least error at the largest compute of the objective.  Columns besides: objective, run_id, cluster,
    leverage.  The largest change comes first.
    """
    sides, compute = _compared(study)
    frames = []
    for side in sides or [one for one in study.sides.values() if one.fit and one.fit.law and one.menu]:
        assert side.fit is not None and side.menu is not None, "a side that is compared has a law and a menu"
        quantity = _log_ratio_of(side, sides, compute) if sides else _log_error_of(side)
        found = influence(side.fit, quantity)
        frames.append(
            found.assign(
                objective=side.objective,
                factor_without_run=np.exp(found["change_without_run"]),
                factor_without_cluster=np.exp(found["change_without_cluster"]),
            )
        )
    if not frames:
        return None
    rows = pd.concat(frames, ignore_index=True)
    order = rows[["change_without_run", "change_without_cluster"]].abs().max(axis=1)
    return rows.loc[order.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def admissible(side: ObjectiveStudy) -> list[Candidate]:
    """The candidates with a law that are as good as the chosen one."""
    return (
        [one for one in side.selected.candidates if one.admissible and one.fit.law] if side.selected else []
    )


def _compared(study: MetricStudy) -> tuple[list[ObjectiveStudy], float]:
    """The two sides of a comparison that states a ratio, and the compute it is stated at; none without one."""
    comparison = study.comparison
    if comparison is None or comparison.ratio is None or comparison.reference_compute is None:
        return [], math.nan
    sides = [study.sides[name] for name in (comparison.studied, comparison.rival)]
    return sides, comparison.reference_compute


def _log_ratio(studied: Fit, rival: Fit, sides: Sequence[ObjectiveStudy], compute: float) -> float:
    """ln of the ratio of two fitted laws."""
    error_R = _errors(rival, sides[1], np.asarray([compute]))(_theta(rival))[:, 0]
    grid_G = _grid(sides)
    return float(
        _log_reached(_errors(studied, sides[0], grid_G)(_theta(studied)), error_R, grid_G)[0]
    ) - math.log(compute)


def _log_ratio_of(side: ObjectiveStudy, sides: Sequence[ObjectiveStudy], compute: float) -> Quantity:
    """ln of the ratio as a function of the theta of one side, the other staying as fitted."""
    studied, rival = sides
    assert studied.fit is not None and rival.fit is not None, "sides that are compared have laws"
    grid_G, place = _grid(sides), np.asarray([compute])
    fits = [as_asked(fit) for fit in (studied.fit, rival.fit)]  # whose theta `influence` hands over
    errors, target = _errors(fits[0], studied, grid_G), _errors(fits[1], rival, place)
    fitted_G, fitted = errors(_theta(fits[0])), target(_theta(fits[1]))[:, 0]
    if side is studied:
        return lambda theta_RP: _log_reached(errors(theta_RP), fitted, grid_G) - math.log(compute)
    return lambda theta_RP: _log_reached(fitted_G, target(theta_RP)[:, 0], grid_G) - math.log(compute)


def _log_error_of(side: ObjectiveStudy) -> Quantity:
    """ln of the least error at the largest compute of a side as a function of its theta."""
    assert side.fit is not None, "a side with a law"
    errors = _errors(as_asked(side.fit), side, np.asarray([side.points["train_flops"].max()]))
    return lambda theta_RP: np.log(errors(theta_RP)[:, 0])


def _errors(fit: Fit, side: ObjectiveStudy, compute_M: Floats) -> Quantity:
    """The frontier errors [R, M] of a side as a function of theta."""
    references, menu = fit.found.references, side.menu
    assert menu is not None, "a side with a frontier has a menu"
    return lambda theta_RP: frontier_errors(fit.form, theta_RP, references, menu, compute_M)


def _log_reached(curve_RG: Floats, error_R: Floats, compute_G: Floats) -> Floats:
    """ln of the compute at which each falling curve reaches each error [R]; -inf or inf beyond the grid."""
    curves_RG, errors_R = np.broadcast_arrays(curve_RG, error_R[:, None])
    log_compute_G = np.log(compute_G)
    reached = [
        np.interp(-errors[0], -curve, log_compute_G, left=-np.inf, right=np.inf)
        for curve, errors in zip(curves_RG, errors_R, strict=True)
    ]
    return np.asarray(reached)


def _grid(sides: Sequence[ObjectiveStudy]) -> Floats:
    compute = np.concatenate([side.points["train_flops"] for side in sides])
    return np.geomspace(compute.min() / REACH, compute.max() * REACH, GRID)


def _theta(fit: Fit) -> Floats:
    return np.asarray([fit.found.theta])
