"""Information criteria of fits to the same points."""

from __future__ import annotations

import math

from analysis.fitting.fit import Fit


def aicc(fit: Fit) -> float:
    """Akaike's criterion corrected for small samples (Hurvich & Tsai 1989); infinity where there is no law.

    n ln(2 objective / n) stands for -2 ln likelihood, the unknown variance of the residuals profiled out; it compares
    fits with the same residuals and the same Huber delta only.
    """
    if fit.evidence is None or fit.law is None:
        return math.inf
    num_points, num_parameters = len(fit.observations), len(fit.form.parameters) + 1  # + the variance
    if num_points <= num_parameters + 1:
        return math.inf
    correction = 2 * num_parameters * (num_parameters + 1) / (num_points - num_parameters - 1)
    likelihood = num_points * math.log(2 * max(fit.evidence.objective, 1e-300) / num_points)
    return likelihood + 2 * num_parameters + correction
