"""The chosen form, with everything a reader needs in order to choose another.

Rule, fixed in advance: the form that predicts forward best; any form within one standard error of it is as good, and
among those the one with the lowest AICc is chosen. Without forward predictions AICc decides alone.

Shapes.  C candidates, M places at which curves are compared, F forward predictions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import nnls

from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.form import Floats, Form, Law
from analysis.selection.criteria import aicc
from analysis.selection.forward import ForwardScore, forward_validation

# behind the best: "essentially no support" beyond it (Burnham & Anderson 2002, section 2.6)
ADMISSIBLE_AICC = 10.0
MIN_PREDICTED = 3  # forward predictions by which forms may be told apart


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One form that competed."""

    fit: Fit
    aicc: float  # infinity where no law is stated
    forward: ForwardScore
    stack_weight: float  # of the combination that would have predicted forward best; 0 without predictions
    admissible: bool  # as good as the chosen one by the rule that chose


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """The choice among the candidates and its reason."""

    # of the chosen form; where no form states a law, that of the first candidate, with its reason
    chosen: Fit
    candidates: tuple[Candidate, ...]
    reason: str

    def stacked(self, curve: Callable[[Law], Floats]) -> Floats:
        """The curve [M] of the stack: the forms' curves weighted by how they predicted forward (Wolpert 1992)."""
        weighted = [(one.stack_weight, one.fit) for one in self.candidates if one.stack_weight > 0]
        return np.asarray(sum(weight * curve(fit.found) for weight, fit in weighted))


def select(observations: Observations, forms: Sequence[Form], options: FitOptions = FitOptions()) -> Selected:
    """The form chosen for the points; every form is fitted with the Huber delta of the first one that states a law."""
    fits = _comparable_fits(observations, forms, options)
    criteria = [aicc(fit) for fit in fits]
    if not any(fit.law for fit in fits):
        empty = [ForwardScore(form=form, folds=()) for form in forms]
        return Selected(
            chosen=fits[0],
            candidates=_candidates(fits, criteria, empty, [0.0] * len(fits), set()),
            reason=f"no candidate states a law: {fits[0].reason}",
        )
    scores = [
        forward_validation(observations, form, options) if fit.law else ForwardScore(form=form, folds=())
        for form, fit in zip(forms, fits, strict=True)
    ]
    admissible, reason = _admissible(fits, criteria, scores)
    chosen = min(admissible, key=lambda index: (criteria[index], len(fits[index].form.parameters)))
    return Selected(
        chosen=fits[chosen],
        candidates=_candidates(fits, criteria, scores, _stack(scores), admissible),
        reason=reason,
    )


def _comparable_fits(observations: Observations, forms: Sequence[Form], options: FitOptions) -> list[Fit]:
    """Fits of all forms with one Huber delta, that of the first law, so that their objectives compare."""
    fits = [fit_form(observations, form, options) for form in forms]
    delta = next((found for fit in fits if (found := _delta(fit)) is not None), None)
    if options.huber_delta is not None or delta is None:
        return fits
    shared = dataclasses.replace(options, huber_delta=delta)
    return [
        fit_form(observations, form, shared) if _delta(fit) not in (None, delta) else fit
        for form, fit in zip(forms, fits, strict=True)
    ]


def _delta(fit: Fit) -> float | None:
    """The Huber delta of a stated law; None without a law, for other losses, and for residuals that are rounding."""
    return fit.evidence.huber_delta if fit.law is not None and fit.evidence is not None else None


def _admissible(
    fits: Sequence[Fit], criteria: Sequence[float], scores: Sequence[ForwardScore]
) -> tuple[set[int], str]:
    """Candidates as good as the best, and by which rule."""
    shared = _shared_errors(scores)
    if shared is None:
        best = min(criteria)
        close = {
            index
            for index, value in enumerate(criteria)
            if fits[index].law and value <= best + ADMISSIBLE_AICC
        }
        if not math.isfinite(best):
            close = {next(index for index, fit in enumerate(fits) if fit.law)}
            return (
                close,
                "too few points for AICc and for forward validation: the first form that states a law",
            )
        return (
            close,
            "lowest AICc; too few runs lie above a fitted share of the largest compute to predict forward",
        )
    squared = {index: errors**2 for index, errors in shared.items()}
    best_index = min(squared, key=lambda index: float(squared[index].mean()))
    close = set()
    for index, errors in squared.items():
        excess = errors - squared[best_index]
        if excess.mean() <= excess.std(ddof=1) / math.sqrt(len(excess)) or index == best_index:
            close.add(index)
    return close, (
        f"lowest AICc among the {len(close)} of {len(squared)} forms that predict forward within one standard error "
        f"of the best ({fits[best_index].form.name}, {len(squared[best_index])} predictions)"
    )


def _shared_errors(scores: Sequence[ForwardScore]) -> dict[int, Floats] | None:
    """Forward errors of each candidate on the folds that all those with any fold share; None if they are too few."""
    with_folds = {
        index: {fold.share: fold for fold in score.folds} for index, score in enumerate(scores) if score.folds
    }
    if not with_folds:
        return None
    shared = sorted(set.intersection(*(set(folds) for folds in with_folds.values())))
    errors = {
        index: np.concatenate(
            [folds[share].predicted_F - folds[share].measured_F for share in shared] or [np.empty(0)]
        )
        for index, folds in with_folds.items()
    }
    return errors if len(next(iter(errors.values()))) >= MIN_PREDICTED else None


def _stack(scores: Sequence[ForwardScore]) -> list[float]:
    """Weights >= 0 that sum to 1 and would have predicted forward with the least squared error (Breiman 1996)."""
    weights, shared = [0.0] * len(scores), _shared_errors(scores)
    if shared is None:
        return weights
    errors_FC = np.stack(list(shared.values()), axis=1)
    # minimise |errors w| with sum w = 1: a heavily weighted row of ones enforces the sum
    heavy = 1e4 * max(float(np.abs(errors_FC).max()), 1e-12)
    solution, _ = nnls(
        np.vstack([errors_FC, np.full(errors_FC.shape[1], heavy)]), np.append(np.zeros(len(errors_FC)), heavy)
    )
    for index, weight in zip(shared, solution / solution.sum(), strict=True):
        weights[index] = float(weight)
    return weights


def _candidates(
    fits: Sequence[Fit],
    criteria: Sequence[float],
    scores: Sequence[ForwardScore],
    weights: Sequence[float],
    admissible: set[int],
) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(fit=fit, aicc=value, forward=score, stack_weight=weight, admissible=index in admissible)
        for index, (fit, value, score, weight) in enumerate(zip(fits, criteria, scores, weights, strict=True))
    )
