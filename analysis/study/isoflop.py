"""IsoFLOP levels of a study: runs of nearly equal training compute, and a polynomial in the size of their towers.

Shapes.  N points.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from analysis.filters import is_loss
from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.form import Floats
from analysis.forms.isoflop import Polynomial
from analysis.study.study import MetricStudy

# factor within which computes are one level: rounding to whole batches and towers of a grid
SAME_COMPUTE = 1.25
CUBIC, PARABOLA = 3, 2
LEAST_TOWERS = PARABOLA + 1


def isoflop_fits(study: MetricStudy) -> Mapping[str, Mapping[float, Fit]]:
    """By objective and compute (geometric mean of a level): a cubic in ln(parameters), with four towers a parabola.

    Levels with fewer than LEAST_TOWERS sizes of tower are left out; a fit may state no law, with its reason.
    """
    return {
        name: _levels(side.fit.observations, study.metric)
        for name, side in study.sides.items()
        if side.fit is not None and "parameters" in side.fit.observations.covariates
    }


def _levels(observations: Observations, metric: str) -> Mapping[float, Fit]:
    residual = FitOptions(residual="log_error" if is_loss(metric) else "error", loss="squares")
    compute_N = observations.covariates["train_flops"]
    fits = {}
    for rows in same_compute(compute_N):
        level = observations.where(rows)
        towers = len(np.unique(level.covariates["parameters"]))
        if towers < LEAST_TOWERS:
            continue
        degree = CUBIC if towers > CUBIC + 1 else PARABOLA
        centre = float(np.exp(np.mean(np.log(compute_N[rows]))))
        fits[centre] = fit_form(level, Polynomial("parameters", degree), residual)
    return fits


def same_compute(compute_N: Floats) -> list[npt.NDArray[np.int64]]:
    """Rows of each level, from little to much: no two of a level differ by more than SAME_COMPUTE."""
    levels: list[list[int]] = []
    for row in np.argsort(compute_N, kind="stable"):
        if levels and compute_N[row] <= SAME_COMPUTE * compute_N[levels[-1][0]]:
            levels[-1].append(int(row))
        else:
            levels.append([int(row)])
    return [np.asarray(level) for level in levels]
