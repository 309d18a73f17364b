"""Towers of nearly equal parameters that err differently: a law of parameters and samples cannot tell them apart.

ViT-B/16 and ViT-B/32 differ in what a sample costs, hardly in parameters.  One surface through both runs between them,
and its frontier takes the cheaper one at the error of neither.  The gap is estimated by adding it to the linearised
law, with the cluster-robust (CR2) error of the fit's own points; a gap that is not 0 is told beside the law.

Shapes.  N points, P parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import t

from analysis.fitting.fit import Fit
from analysis.frontier import Menu
from analysis.intervals.asked import problem_of
from analysis.intervals.clusters import clusters_of, degrees_of_freedom, linear_clusters
from analysis.intervals.interval import Interval

ALIKE = 1.25  # factor of parameters within which two towers are one to a law; those of a grid are 3 and more apart
LEVEL = 0.99  # of what is told unasked
METHOD = "CR2 of a one-step fit"


def alike_towers(fit: Fit | None, towers_N: Sequence[str], menu: Menu | None) -> tuple[str, ...]:
    """A sentence per pair of towers that the law takes for one although they err differently.

    `towers_N` are those of the points of the fit.
    """
    if fit is None or fit.law is None or menu is None or "parameters" not in fit.form.covariates:
        return ()
    sizes = dict(zip(menu.towers, menu.parameters_T, strict=True))
    told = []
    for one, other in itertools.combinations(sorted(sizes, key=lambda name: (sizes[name], name)), 2):
        if sizes[other] > ALIKE * sizes[one]:
            continue
        gap = tower_gap(fit, towers_N, one, other)
        if gap is not None and not gap.contains(0.0):
            unit = " in logarithms" if fit.options.residual == "log_error" else ""
            told.append(_sentence(gap, one, other, sizes, unit))
    return tuple(told)


def tower_gap(fit: Fit, towers_N: Sequence[str], one: str, other: str) -> Interval | None:
    """Error of `other` minus that of `one` at equal covariates, on the scale of the residuals, fitted with the law.

    None where the points do not determine it.
    """
    problem = problem_of(fit)
    clusters = clusters_of(fit, problem)
    names_N = np.asarray(towers_N)
    side_N = ((names_N == other).astype(float) - (names_N == one)) / 2
    jacobian_NP = np.column_stack([clusters.jacobian_NP, np.sqrt(problem.weight_N) * side_N])
    size_P = np.linalg.norm(jacobian_NP, axis=0)
    if len(names_N) <= len(size_P) or np.linalg.matrix_rank(jacobian_NP / size_P, tol=1e-6) < len(size_P):
        return None
    step_P = -np.linalg.pinv(jacobian_NP / size_P) @ clusters.pseudo_N / size_P
    both = linear_clusters(fit, clusters.residual_N + jacobian_NP @ step_P, jacobian_NP)
    if both.alone:
        return None
    freedom = degrees_of_freedom(both.loading(np.eye(len(size_P))[-1]))
    reach = float(t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(both.covariance()[-1, -1]))
    gap = float(step_P[-1])
    return Interval(
        estimate=gap,
        lower=gap - reach,
        upper=gap + reach,
        level=LEVEL,
        method=METHOD,
        degrees_of_freedom=freedom,
    )


def _sentence(gap: Interval, one: str, other: str, sizes: Mapping[str, float], unit: str) -> str:
    assert gap.lower is not None and gap.upper is not None, "a gap has both ends"
    size = f"{sizes[one]:.3g} and {sizes[other]:.3g}"
    error = f"{gap.estimate:+.2g} [{gap.lower:+.2g}, {gap.upper:+.2g}]"
    return (
        f"{one} and {other} have nearly the same parameters ({size}), but at equal samples the error of {other} is "
        f"{error} from that of {one} ({100 * gap.level:.0f} %{unit}): a law of parameters takes them for one "
        "tower, and is right for neither; fit them apart"
    )
