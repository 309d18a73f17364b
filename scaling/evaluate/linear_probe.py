"""Linear probe: logistic regression on frozen, pooled features, the comparison metric of both objectives.

Protocol lbfgs-logistic@1.  Features of the evaluation crop, standardised by the training images; multinomial
logistic regression with L2 by L-BFGS (convex: no learning rate, one answer per strength); the strength chosen
on a tenth of the training images, coarsely and then once more around the best; refitted on all of them.  The
test images decide nothing.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from scaling.data.indexed import IndexedSamples
from scaling.data.labelled import LabelledSet
from scaling.evaluate.context import EvaluationContext, Outcome
from scaling.evaluate.features import ImageBatch, Rows, to_rows

# Shapes.  N images, D features, K classes.

TASK = "linear_probe"
PROTOCOL = "lbfgs-logistic@1"
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # L2 beside the mean loss; the best is usually the middle one
REFINEMENT = 10**0.5  # the best strength is also tried divided and multiplied by this
MAX_ITERATIONS = 100  # on 30k CIFAR-10 images and 768 features 65.55 %, converged 65.59 %
TOLERANCE = 1e-5  # of the gradient; float32 does not go much lower
SELECTION_EVERY = 10  # of a shuffled training set, one image in so many selects the strength

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A fitted probe, and how it was found."""

    model: Any  # LogisticRegression
    scaler: Any  # StandardScaler
    strength: float
    num_iterations: int  # of the final fit; MAX_ITERATIONS if it was stopped there

    def predict(self, features_ND: Features) -> Labels:
        """The class of each image, [N]."""
        labels: Labels = self.model.predict(self.scaler.transform(features_ND))
        return labels


def linear_probe(context: EvaluationContext) -> Outcome | None:
    """{"top1", "chance"} on the test images, on rank 0."""
    labelled = context.labelled_set(TASK)
    train, test = (_features(context, labelled, part) for part in (labelled.train, labelled.test))
    if train is None or test is None:
        return None
    probe = fit_probe(train["features"], train["labels"])
    hits = probe.predict(test["features"]) == test["labels"]
    return Outcome(
        protocol=PROTOCOL,
        metrics={"top1": float(hits.mean()), "chance": 1 / len(labelled.class_names)},
        num_samples=len(hits),
        settings={
            "num_train": len(train["labels"]),
            "l2": probe.strength,
            "iterations": probe.num_iterations,
            "labelled": [labelled.train.digest, labelled.test.digest],
        },
    )


def fit_probe(features_ND: Features, labels_N: Labels) -> Probe:
    """The probe of the best strength, fitted to all images."""
    scaler = StandardScaler()
    standardised = scaler.fit_transform(features_ND)
    order = np.random.default_rng(0).permutation(len(labels_N))
    chosen, kept = np.array_split(order, [-(-len(order) // SELECTION_EVERY)])
    scores: dict[float, float] = {}

    def try_strength(strength: float) -> None:
        model = _fit(standardised[kept], labels_N[kept], strength)
        scores[strength] = float(model.score(standardised[chosen], labels_N[chosen]))

    for strength in STRENGTHS:
        try_strength(strength)
    best = _best(scores)
    for strength in (best / REFINEMENT, best * REFINEMENT):
        try_strength(strength)
    best = _best(scores)
    model = _fit(standardised, labels_N, best)
    return Probe(model=model, scaler=scaler, strength=best, num_iterations=int(model.n_iter_.max()))


def _features(context: EvaluationContext, labelled: LabelledSet, part: IndexedSamples) -> Rows | None:
    def measure(images: ImageBatch) -> Rows:
        return {
            "features": to_rows(context.objective.image_features(images.images_BCHW)),
            "labels": labelled.labels(images.samples),
        }

    return context.rows(measure, part)


def _fit(features_ND: Features, labels_N: Labels, strength: float) -> Any:
    model = LogisticRegression(
        C=1 / (strength * len(labels_N)), solver="lbfgs", max_iter=MAX_ITERATIONS, tol=TOLERANCE
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the cap is part of the protocol
        return model.fit(features_ND, labels_N)


def _best(scores: dict[float, float]) -> float:
    """The strength of the highest score; of equals, the strongest regularisation."""
    return max(scores, key=lambda strength: (scores[strength], strength))
