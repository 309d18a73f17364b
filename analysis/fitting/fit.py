"""A fit: a law with the evidence for it, or a typed status and the reason in words; never a stuck number.

Shapes.  N points, K covariates.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

import numpy as np

from analysis.fitting.evidence import Evidence, weigh
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem
from analysis.fitting.search import search, spread
from analysis.forms.form import MIN_VALUES, Form, Law

__all__ = ["GRADIENT_TOLERANCE", "ILL_CONDITIONED", "MIN_VALUES", "Evidence", "Fit", "FitStatus", "fit_form"]

GRADIENT_TOLERANCE = 1e-5  # of refits: by theta, objective scaled to 1 for the best constant
GAIN_TOLERANCE = 1e-6  # share of the objective that the local model may still promise
ILL_CONDITIONED = 1e8  # condition of the scaled Jacobian: half of double precision's digits
EQUAL = 1e-12  # spread of the targets, relative to their size, that is none


class FitStatus(enum.StrEnum):
    """Outcome of a fit; only `OK` carries a law."""

    OK = "ok"
    NOT_IDENTIFIED = "not_identified"  # the points do not determine the parameters
    TOO_FEW_POINTS = "too_few_points"
    MIXED_POINTS = "mixed_points"  # the points differ in more than the covariates
    STUCK = "stuck"  # the optimiser did not reach a stationary point


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A fitted law with its evidence, or why there is none."""

    status: FitStatus
    reason: str = ""  # in words, empty when ok
    law: Law | None = None
    form: Form  # of the law; simpler than the one asked for where a parameter ended at its limit
    asked: Form | None = None  # the form that was asked for, where it is another one
    note: str = ""  # why the form is another one than asked for
    options: FitOptions
    observations: Observations
    evidence: Evidence | None = None

    def __post_init__(self) -> None:
        if (self.law is None) == (self.status is FitStatus.OK) or bool(self.reason) == (self.law is not None):
            raise ValueError(
                f"a fit has either a law or a reason: {self.status}, {self.law}, {self.reason!r}"
            )

    @property
    def found(self) -> Law:
        """The law; ValueError with the reason where there is none."""
        if self.law is None:
            raise ValueError(f"{self.form.name}: no law is stated ({self.status.value}): {self.reason}.")
        return self.law


def fit_form(
    observations: Observations,
    form: Form,
    options: FitOptions = FitOptions(),
    *,
    references: Mapping[str, float] | None = None,
) -> Fit:
    """The best law of a form through the points, or the reason why none is stated.

    A floor (or shift) that ends at its limit of 0 is left out, the simpler form is fitted instead, and the note says
    so.  `references` are those of the amplitudes (None: geometric means of the points).  ValueError where the points
    lack a covariate of the form or their errors cannot be the form's.
    """
    blank = Fit(
        status=FitStatus.TOO_FEW_POINTS, reason="-", form=form, options=options, observations=observations
    )
    if len(observations) <= len(form.parameters):
        return dataclasses.replace(blank, reason=_too_few(len(observations), "point", form))
    problem = Problem.of(observations, form, options, references)
    status, reason = _look(problem)
    if reason:
        return dataclasses.replace(blank, status=status, reason=reason)
    found = search(problem)
    evidence = weigh(problem, found)
    for name in evidence.lower_bounds_hit:
        if name in form.limits:
            return _simplified(
                fit_form(observations, form.limits[name], options, references=references), form, name
            )
    status, reason = _verdict(evidence)
    law = problem.law(found.theta_P) if status is FitStatus.OK else None
    return dataclasses.replace(blank, status=status, reason=reason, law=law, evidence=evidence)


def _look(problem: Problem) -> tuple[FitStatus, str]:
    """What the points alone rule out, before any law is tried."""
    form, num_cells = problem.form, len(np.unique(problem.x_NK, axis=0))
    for column, name in enumerate(form.covariates):
        num_values, least = len(np.unique(problem.x_NK[:, column])), form.least_values[name]
        if num_values < least:
            reason = f"{_counted(num_values, 'distinct value')} of {name}, at least {least} are needed"
            return FitStatus.TOO_FEW_POINTS, reason
    if num_cells <= len(form.parameters):
        return FitStatus.TOO_FEW_POINTS, _too_few(num_cells, "distinct cell", form)
    if spread(problem) <= EQUAL * float(np.abs(problem.target_N).max()):
        return FitStatus.NOT_IDENTIFIED, "all errors are equal, whatever the covariates"
    return FitStatus.OK, ""


def _too_few(number: int, what: str, form: Form) -> str:
    least = len(form.parameters) + 1
    return (
        f"{_counted(number, what)}, at least {least} are needed for the {least - 1} parameters of {form.name}"
    )


def _counted(number: int, what: str) -> str:
    """ "1 point", "4 points"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _simplified(fit: Fit, asked: Form, parameter: str) -> Fit:
    """The fit of the simpler form, with the note that it was not the one asked for."""
    note = f"{parameter} of {asked.name} ended at 0, so the law is a {fit.form.name}"
    return dataclasses.replace(fit, asked=asked, note=f"{note}; {fit.note}" if fit.note else note)


def _verdict(evidence: Evidence) -> tuple[FitStatus, str]:
    """Whether the minimum is one, and is determined."""
    if evidence.bounds_hit:
        ends = " and ".join(
            f"{name} ended at its {'lower' if name in evidence.lower_bounds_hit else 'upper'} bound"
            for name in evidence.bounds_hit
        )
        return FitStatus.NOT_IDENTIFIED, f"{ends}: the points do not determine it"
    if evidence.condition > ILL_CONDITIONED:
        together = ", ".join(evidence.confounded)
        reason = f"the points do not tell {together} apart (condition {evidence.condition:.0e})"
        return FitStatus.NOT_IDENTIFIED, reason
    if evidence.explained_share <= 0:
        return FitStatus.NOT_IDENTIFIED, "a constant error describes the points as well"
    if not evidence.remaining_gain <= GAIN_TOLERANCE:
        reason = (
            f"the optimiser stopped where the objective can still fall by {evidence.remaining_gain:.1e} of itself "
            f"(gradient {evidence.gradient_norm:.1e})"
        )
        return FitStatus.STUCK, reason
    return FitStatus.OK, ""
