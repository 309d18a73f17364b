"""The log of the equal-compute ratio, r(C) = C_studied(e_rival(C)) / C, and its derivatives by both laws.

At C_studied = r C the frontiers have one error, so a change of the laws moves ln r by (d e_rival - d e_studied) /
(d e_studied / d ln C), every derivative taken at the best tower (envelope theorem).

Shapes.  P parameters, R laws, M computes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.optimize import brentq

from analysis.design.beliefs import Belief
from analysis.forms.form import Floats
from analysis.frontier import frontier_errors, tower_errors

REACH = 1e4  # of the compute: ratios beyond 1 / REACH and REACH are not looked for
STEP = 1e-4  # of ln C, for the slope of a frontier
GRID = 801  # computes, for many laws at once


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LogRatio:
    """ln r at a compute, and its derivatives by the parameters of the studied law and of the rival's."""

    value: float
    by_studied_P: Floats
    by_rival_P: Floats


def log_ratio(studied: Belief, rival: Belief, compute: float) -> LogRatio:
    """ln r and its derivatives; ValueError where the studied frontier reaches the error at no ratio within REACH."""
    wanted = _error(rival, compute)

    def excess(log_ratio: float) -> float:
        return _error(studied, compute * math.exp(log_ratio)) - wanted

    most = math.log(REACH)
    if not excess(-most) > 0 > excess(most):
        raise ValueError(
            f"at {compute:.3g} FLOPs {rival.objective} has an error of {wanted:.4f}, which {studied.objective} reaches "
            f"with no compute within a factor {REACH:g}; choose another compute."
        )
    value = float(brentq(excess, -most, most, xtol=1e-12))
    there = compute * math.exp(value)
    slope = (_error(studied, there * math.exp(STEP)) - _error(studied, there * math.exp(-STEP))) / (2 * STEP)
    return LogRatio(
        value=value,
        by_studied_P=-_gradient(studied, there) / slope,
        by_rival_P=_gradient(rival, compute) / slope,
    )


def log_ratios(
    studied: Belief, rival: Belief, studied_RP: Floats, rival_RP: Floats, compute: float
) -> Floats:
    """ln r [R] of many pairs of laws; -inf or inf where it lies beyond 1 / REACH or REACH."""
    log_ratio_M = np.linspace(-math.log(REACH), math.log(REACH), GRID)
    law = studied.law
    falling_RM = frontier_errors(
        law.form, studied_RP, law.references, studied.menu, compute * np.exp(log_ratio_M)
    )
    wanted_R = frontier_errors(rival.law.form, rival_RP, rival.law.references, rival.menu, [compute])[:, 0]
    ratio_R = [
        np.interp(-wanted, -falling_M, log_ratio_M, left=-np.inf, right=np.inf)
        for wanted, falling_M in zip(wanted_R, falling_RM, strict=True)
    ]
    return np.asarray(ratio_R, dtype=np.float64)


def _error(belief: Belief, compute: float) -> float:
    law = belief.law
    return float(
        frontier_errors(law.form, np.asarray([law.theta]), law.references, belief.menu, [compute])[0, 0]
    )


def _gradient(belief: Belief, compute: float) -> Floats:
    """Derivatives [P] of the least error at a compute."""
    law, menu = belief.law, belief.menu
    theta_RP = np.asarray([law.theta])
    best = int(tower_errors(law.form, theta_RP, law.references, menu, [compute])[0, :, 0].argmin())
    columns = menu.covariates([compute])
    x_NK = np.asarray(
        [[math.log(columns[name][best, 0] / law.references[name]) for name in law.form.covariates]]
    )
    return np.asarray(law.form.derivatives(theta_RP, x_NK)[1][0, 0])
