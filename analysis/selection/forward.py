"""Forward validation: fit the runs below a share of the largest compute, predict the runs above it.

In-sample criteria say how well a form describes what was trained; a scaling law is bought for what was not.

Shapes.  N points, F predicted points, P parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem, target, target_slope
from analysis.forms.form import Floats, Form

SHARES = (0.03, 0.1, 0.3)  # of the largest training compute
LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """The runs above one share of the largest compute, as predicted from those below it."""

    share: float
    fit: Fit
    compute_F: Floats
    measured_F: Floats
    predicted_F: Floats
    lower_F: Floats  # of the new-run interval, delta method
    upper_F: Floats
    run_ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ForwardScore:
    """How a form predicted what it had not seen, over all folds that could be fitted."""

    form: Form
    folds: tuple[Fold, ...]

    @property
    def num_predicted(self) -> int:
        """Predictions scored; a run may be predicted from several shares."""
        return sum(len(fold.measured_F) for fold in self.folds)

    @property
    def errors(self) -> Floats:
        """Predicted minus measured errors of all folds."""
        return np.concatenate([fold.predicted_F - fold.measured_F for fold in self.folds] or [np.empty(0)])

    @property
    def rmse(self) -> float:
        """Root mean squared error of prediction, in the unit of the error; NaN without a prediction."""
        return float(np.sqrt(np.mean(self.errors**2))) if self.num_predicted else float("nan")

    @property
    def bias(self) -> float:
        """Mean of predicted minus measured."""
        return float(np.mean(self.errors)) if self.num_predicted else float("nan")

    @property
    def coverage(self) -> float:
        """Share of the measured errors inside their new-run interval; LEVEL would be right."""
        inside = [(f.lower_F <= f.measured_F) & (f.measured_F <= f.upper_F) for f in self.folds]
        return float(np.mean(np.concatenate(inside))) if self.num_predicted else float("nan")


def forward_validation(
    observations: Observations,
    form: Form,
    options: FitOptions = FitOptions(),
    *,
    shares: Sequence[float] = SHARES,
    level: float = LEVEL,
) -> ForwardScore:
    """The score of a form; folds in which it states no law, or nothing lies above, are left out."""
    compute_N = observations.covariates["train_flops"]
    folds = []
    for share in shares:
        below_N = compute_N <= share * compute_N.max()
        if below_N.all() or not below_N.any():
            continue
        fit = fit_form(observations.where(below_N), form, options)
        if fit.law is not None:
            folds.append(_fold(share, fit, observations.where(~below_N), level))
    return ForwardScore(form=form, folds=tuple(folds))


def _fold(share: float, fit: Fit, above: Observations, level: float) -> Fold:
    predicted_F, lower_F, upper_F = prediction_interval(fit, above, level)
    return Fold(
        share=share,
        fit=fit,
        compute_F=above.covariates["train_flops"],
        measured_F=above.error_N,
        predicted_F=predicted_F,
        lower_F=lower_F,
        upper_F=upper_F,
        run_ids=above.run_ids,
    )


def prediction_interval(
    fit: Fit, points: Observations, level: float = LEVEL
) -> tuple[Floats, Floats, Floats]:
    """Predicted errors [F] of new runs with their interval: delta method on the scale of the residuals.

    Variance of the law, J (J'J)^-1 J' B, plus that of a run.  B is the mean square between clusters with as many
    degrees of freedom as there are clusters beyond the parameters, so that seeds that err alike count once; a run has
    the variance within clusters and what B has beyond it (one-way analysis of variance).  ValueError where the fit
    states no law.
    """
    law, residual = fit.found, fit.options.residual
    theta_RP = np.asarray([law.theta])
    problem = Problem.of(fit.observations, fit.form, fit.options, law.references)
    residual_N, jacobian_NP = (part[0] for part in problem.linearised(theta_RP))
    between, of_run, freedom = _variances(residual_N, fit.observations.clusters, jacobian_NP.shape[1])
    ahead = Problem.of(dataclasses.replace(points, variance_N=None), fit.form, fit.options, law.references)
    error_F, derivative_FP = (part[0] for part in fit.form.derivatives(theta_RP, ahead.x_NK))
    slope_FP = target_slope(residual, error_F)[:, None] * derivative_FP
    spread_F = np.einsum("fp,pq,fq->f", slope_FP, np.linalg.pinv(jacobian_NP.T @ jacobian_NP), slope_FP)
    half_F = student.ppf((1 + level) / 2, freedom) * np.sqrt(between * np.maximum(spread_F, 0.0) + of_run)
    middle_F = target(residual, error_F)
    return error_F, untarget(residual, middle_F - half_F), untarget(residual, middle_F + half_F)


def _variances(residual_N: Floats, clusters: Sequence[str], num_parameters: int) -> tuple[float, float, int]:
    """The mean square between clusters, the variance of a run, and the degrees of freedom of both."""
    _, number_N = np.unique(np.asarray(clusters), return_inverse=True)
    size_G = np.bincount(number_N)
    square_G = np.bincount(number_N, residual_N) ** 2 / size_G
    freedom = max(len(size_G) - num_parameters, 1)
    between = float(square_G.sum()) / freedom
    if len(size_G) == len(residual_N):
        return between, between, freedom
    within = (float(residual_N @ residual_N) - float(square_G.sum())) / (len(residual_N) - len(size_G))
    of_clusters = max(between - within, 0.0) * len(size_G) / len(residual_N)
    return between, within + of_clusters, freedom


def untarget(residual: str, values: Floats) -> Floats:
    """The inverse of `target`: errors from the scale of the residuals."""
    if residual == "log_error":
        return np.asarray(np.exp(values))
    if residual == "logit_error":
        return np.asarray(1 / (1 + np.exp(-values)))
    return values
