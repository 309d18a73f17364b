"""Between the coordinates of a form, in which refits and profiles move, and the natural units of its parameters.

Shapes.  N points, P parameters, R refits.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.fitting.fit import Fit
from analysis.forms.form import Floats
from analysis.intervals.asked import problem_of
from analysis.intervals.interval import OPEN, Interval

AT_BOUND = 1e-9  # of theta


def beyond_bounds(fit: Fit, theta_RP: Floats) -> Floats:
    """theta with -inf and inf in place of coordinates at a bound, beyond which points cannot tell laws apart."""
    lower_P, upper_P = problem_of(fit).bounds
    below_RP = np.where(theta_RP <= lower_P + AT_BOUND, -np.inf, theta_RP)
    return np.asarray(np.where(theta_RP >= upper_P - AT_BOUND, np.inf, below_RP))


def natural(fit: Fit, name: str, coordinate_G: Floats) -> Floats:
    """Values [G] of a parameter at the given coordinates, the other parameters at the estimate."""
    index = fit.form.parameters.index(name)
    theta_GP = np.tile(fit.found.theta, (len(coordinate_G), 1))
    theta_GP[:, index] = coordinate_G
    return np.asarray([fit.form.values(theta_P)[name] for theta_P in theta_GP])


def in_natural_units(fit: Fit, name: str, found: Interval) -> Interval:
    """The interval of a parameter's coordinate as one of the parameter; ends at or beyond a bound are open."""
    lower, upper = ends_of(fit, name)
    low = None if found.lower is None or found.lower <= lower + AT_BOUND else found.lower
    high = None if found.upper is None or found.upper >= upper - AT_BOUND else found.upper
    ends = [None if end is None else float(natural(fit, name, np.asarray([end]))[0]) for end in (low, high)]
    if natural(fit, name, np.asarray([lower]))[0] > natural(fit, name, np.asarray([upper]))[0]:
        ends.reverse()
    return _told(dataclasses.replace(found, estimate=fit.found.value(name), lower=ends[0], upper=ends[1]))


def within_bounds(fit: Fit, name: str, found: Interval) -> Interval:
    """An interval of a parameter in natural units; ends at or beyond a bound are open."""
    lower, upper = natural(fit, name, np.asarray(ends_of(fit, name)))
    low = None if found.lower is None or found.lower <= lower else found.lower
    high = None if found.upper is None or found.upper >= upper else found.upper
    return _told(dataclasses.replace(found, lower=low, upper=high))


def ends_of(fit: Fit, name: str) -> tuple[float, float]:
    """The bounds of a parameter's coordinate."""
    index = fit.form.parameters.index(name)
    lower_P, upper_P = problem_of(fit).bounds
    return float(lower_P[index]), float(upper_P[index])


def _told(interval: Interval) -> Interval:
    """The interval with its open sides in words; a reason for there being none stays."""
    open_sides = [side for side, end in (("below", interval.lower), ("above", interval.upper)) if end is None]
    if not open_sides or interval.reason not in ("", OPEN):
        return interval
    return dataclasses.replace(interval, reason=f"not bounded {' or '.join(open_sides)} by the points")
