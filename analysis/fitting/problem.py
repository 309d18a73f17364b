"""Observations as a form sees them: scaled covariates, targets, weights, and residuals of many laws at once.

Shapes.  N points, K covariates, P parameters, R laws, S seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions, Residual
from analysis.forms.form import Floats, Form, Law

# below it (and above 1 - it, for logits) targets go on as straight lines: finite for any law
LEAST_ERROR = 1e-9
MOST_SEED_POINTS = 1_000  # more do not move a seed by a step of the grid


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What is fitted to what; weights are 1 / variance scaled to a mean of 1."""

    form: Form
    options: FitOptions
    x_NK: Floats  # ln(covariate / reference)
    references: Mapping[str, float]
    error_N: Floats
    target_N: Floats  # the error on the scale of the residuals
    weight_N: Floats  # of squared residuals

    @classmethod
    def of(
        cls,
        observations: Observations,
        form: Form,
        options: FitOptions,
        references: Mapping[str, float] | None = None,
    ) -> Problem:
        """The problem of these points; ValueError names a covariate the points lack or an error out of range."""
        missing = [name for name in form.covariates if name not in observations.covariates]
        if missing:
            raise ValueError(
                f"{form.name} needs {missing}; the points have {sorted(observations.covariates)}."
            )
        columns = {name: observations.covariates[name] for name in form.covariates}
        references = _references(form, columns) if references is None else _checked(form, references)
        error_N = observations.error_N
        refusal = form.refuse(error_N)
        if refusal:
            raise ValueError(f"{refusal}.")
        if options.residual == "logit_error" and error_N.max() >= 1:
            raise ValueError(
                f"logit residuals need errors below 1, not {error_N.max():g}; use residual error."
            )
        weight_N = np.ones(len(error_N))
        if observations.variance_N is not None:
            weight_N = target_slope(options.residual, error_N) ** -2 / observations.variance_N
            weight_N = weight_N / weight_N.mean()
        return cls(
            form=form,
            options=options,
            x_NK=np.stack([np.log(columns[name] / references[name]) for name in form.covariates], axis=1),
            references=dict(references),
            error_N=error_N,
            target_N=target(options.residual, error_N),
            weight_N=weight_N,
        )

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper ends [P] of theta."""
        return self.form.bounds(self.x_NK, self.error_N)

    def law(self, theta_P: Floats) -> Law:
        """The law of one theta, in the units of the covariates."""
        return Law(form=self.form, theta=tuple(map(float, theta_P)), references=self.references)

    def residuals(self, theta_RP: Floats, target_RN: Floats | None = None) -> Floats:
        """Weighted residuals [R, N], sqrt(weight) * (predicted - target); `target_RN` replaces the measured ones."""
        predicted_RN = target(self.options.residual, self.form.predict(theta_RP, self.x_NK))
        goal_RN = self.target_N if target_RN is None else target_RN
        return np.asarray(np.sqrt(self.weight_N) * (predicted_RN - goal_RN))

    def linearised(self, theta_RP: Floats, target_RN: Floats | None = None) -> tuple[Floats, Floats]:
        """Weighted residuals [R, N] and their derivatives [R, N, P]."""
        error_RN, derivative_RNP = self.form.derivatives(theta_RP, self.x_NK)
        goal_RN = self.target_N if target_RN is None else target_RN
        root_N = np.sqrt(self.weight_N)
        slope_RN = root_N * target_slope(self.options.residual, error_RN)
        residual_RN = root_N * (target(self.options.residual, error_RN) - goal_RN)
        return np.asarray(residual_RN), np.asarray(slope_RN[..., None] * derivative_RNP)

    def seeds(self, count: int | None = None) -> Floats:
        """At most `count` starts theta [S, P] of variable projection (None: as many as stated), inside the bounds."""
        count = self.options.num_starts if count is None else count
        raw_weight_N = self.weight_N * target_slope(self.options.residual, self.error_N) ** 2
        rows = np.lexsort(self.x_NK.T)
        if len(rows) > MOST_SEED_POINTS:
            rows = rows[np.linspace(0, len(rows) - 1, MOST_SEED_POINTS).astype(np.int64)]
        theta_SP = self.form.seeds(self.x_NK[rows], self.error_N[rows], raw_weight_N[rows], count)
        return np.asarray(np.clip(theta_SP, *self.bounds))


def target(residual: Residual, error: Floats) -> Floats:
    """Errors on the scale of the residuals; beyond `LEAST_ERROR` logarithms go on as straight lines."""
    if residual == "log_error":
        inside = np.maximum(error, LEAST_ERROR)
        return np.asarray(np.log(inside) + (error - inside) / inside)
    if residual == "logit_error":
        inside = np.clip(error, LEAST_ERROR, 1 - LEAST_ERROR)
        return np.asarray(np.log(inside / (1 - inside)) + (error - inside) / (inside * (1 - inside)))
    return error


def target_slope(residual: Residual, error: Floats) -> Floats:
    """Derivative of `target` by the error."""
    if residual == "log_error":
        return np.asarray(1 / np.maximum(error, LEAST_ERROR))
    if residual == "logit_error":
        inside = np.clip(error, LEAST_ERROR, 1 - LEAST_ERROR)
        return np.asarray(1 / (inside * (1 - inside)))
    return np.ones_like(error)


def _references(form: Form, columns: Mapping[str, Floats]) -> Mapping[str, float]:
    """Geometric means of the covariates; covariates of one unit share that of one of them."""
    means = {name: float(np.exp(np.mean(np.log(values)))) for name, values in columns.items()}
    return {name: means[form.shared_references.get(name, name)] for name in form.covariates}


def _checked(form: Form, references: Mapping[str, float]) -> Mapping[str, float]:
    for name in form.covariates:
        if not references.get(name, 0.0) > 0:
            raise ValueError(
                f"{form.name} needs a positive reference for {name}; given are {dict(references)}."
            )
    for name, other in form.shared_references.items():
        if references[name] != references[other]:
            raise ValueError(f"{name} and {other} need one reference, not {dict(references)}.")
    return references
