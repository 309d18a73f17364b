"""A fit in the form that was asked for.  Where a floor ended at 0 the stated law has none, but it is not known to be 0:
intervals are those of the form with the floor, which refits may find again.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.fitting.fit import Fit
from analysis.fitting.problem import Problem


def problem_of(fit: Fit) -> Problem:
    """The problem whose minimum the law of a fit is, with the references of its amplitudes."""
    return Problem.of(fit.observations, fit.form, fit.options, references=fit.found.references)


def as_asked(fit: Fit) -> Fit:
    """The same law in the form asked for, at the lower bound of the parameters that the law lacks."""
    if fit.law is None or fit.asked is None:
        return fit
    bare = dataclasses.replace(fit, form=fit.asked, asked=None, note="")
    problem = problem_of(bare)
    held = fit.law.values
    lower_P = problem.bounds[0]
    theta_P = fit.asked.theta({**fit.asked.values(lower_P), **held})
    missing_P = np.asarray([name not in fit.form.parameters for name in fit.asked.parameters])
    return dataclasses.replace(bare, law=problem.law(np.where(missing_P, lower_P, theta_P)))
