"""The probe is the regularised logistic regression it says it is, and never looks at the test images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from scaling.evaluate import linear_probe as probe
from scaling.evaluate.context import EvaluationContext


def clusters(num_images: int, *, noise: float, seed: int = 0) -> tuple[probe.Features, probe.Labels]:
    draw = np.random.default_rng(seed)
    centres_KD = np.random.default_rng(9).normal(size=(5, 24))
    labels_N = draw.integers(0, 5, num_images)
    features_ND = 3 + 10 * (centres_KD[labels_N] + noise * draw.normal(size=(num_images, 24)))
    return features_ND.astype(np.float32), labels_N


def test_the_final_fit_is_the_minimum_of_the_regularised_loss() -> None:
    features_ND, labels_N = clusters(300, noise=1.5)
    found = probe.fit_probe(features_ND, labels_N)
    exact_ND = features_ND.astype(np.float64)
    exact_ND = (exact_ND - exact_ND.mean(axis=0)) / exact_ND.std(axis=0)
    exact = LogisticRegression(C=1 / (found.strength * 300), tol=1e-10, max_iter=10_000).fit(
        exact_ND, labels_N
    )
    np.testing.assert_allclose(found.model.coef_, exact.coef_, atol=2e-3)
    test_ND, _ = clusters(500, noise=1.5, seed=1)
    standardised = (test_ND - features_ND.mean(axis=0)) / features_ND.std(axis=0)
    assert (found.predict(test_ND) == exact.predict(standardised)).mean() > 0.99


def test_the_probe_is_computed_in_single_precision() -> None:
    assert probe.fit_probe(*clusters(60, noise=1.0)).model.coef_.dtype == np.float32


def test_noisier_features_are_regularised_more() -> None:
    clear, noisy = (probe.fit_probe(*clusters(200, noise=noise)).strength for noise in (1.0, 6.0))
    assert noisy > clear


def test_of_equally_good_strengths_the_strongest_is_taken() -> None:
    assert probe._best({0.1: 0.5, 1.0: 0.5, 10.0: 0.4}) == 1.0


def test_the_probe_is_deterministic() -> None:
    first, again = (probe.fit_probe(*clusters(200, noise=2.0)) for _ in range(2))
    np.testing.assert_array_equal(first.model.coef_, again.model.coef_)


def test_a_fit_that_reaches_the_cap_says_so_by_its_iterations_and_not_by_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "MAX_ITERATIONS", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert probe.fit_probe(*clusters(200, noise=2.0)).num_iterations == 3


def test_a_constant_feature_does_no_harm() -> None:
    features_ND, labels_N = clusters(100, noise=0.1)
    features_ND[:, 3] = 7.0
    assert (probe.fit_probe(features_ND, labels_N).predict(features_ND) == labels_N).all()


def test_the_task_reports_the_share_of_right_test_images_and_its_settings(
    superclass: Any, context_of: Callable[..., EvaluationContext]
) -> None:
    context = context_of(superclass)
    outcome = probe.linear_probe(context)
    assert outcome is not None and context.labelled is not None
    assert outcome.protocol == "lbfgs-logistic@1" and outcome.num_samples == 17
    assert outcome.metrics["chance"] == pytest.approx(1 / 3)
    assert round(outcome.metrics["top1"] * 17, 6) in range(18)
    assert outcome.settings["num_train"] == 40
    assert outcome.settings["labelled"] == [context.labelled.train.digest, context.labelled.test.digest]


def test_several_ranks_find_what_one_finds(
    clip: Any, context_of: Callable[..., EvaluationContext], on_ranks: Callable[..., list[Any]]
) -> None:
    alone = probe.linear_probe(context_of(clip))
    first, second = on_ranks(2, lambda ranks, _: probe.linear_probe(context_of(clip, ranks=ranks)))
    assert first == alone and second is None
