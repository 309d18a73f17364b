"""Repeated samples and excess parameters are worth what Muennighoff 2023 says."""

from __future__ import annotations

import numpy as np
import pytest
from form_cases import case, law_of
from scipy.optimize import brentq, minimize_scalar

from analysis.forms.catalogue import form_named
from analysis.forms.form import Law
from analysis.forms.repeated import worth

VALUES = {
    "scale_parameters": 500.0,
    "scale_samples_seen": 1500.0,
    "exponent_parameters": 0.36,
    "exponent_samples_seen": 0.31,
    "floor": 1.8,
    "repeats_samples_seen": 15.4,
    "repeats_parameters": 5.3,
}


def by_the_book(parameters: float, samples: float, unique: float) -> float:
    """The published equations in bare units, with the parameters whose doubling buys what one of `unique` does."""
    A, B, a, b, E, repeats_D, repeats_N = (
        VALUES[name]
        for name in (
            "scale_parameters",
            "scale_samples_seen",
            "exponent_parameters",
            "exponent_samples_seen",
            "floor",
            "repeats_samples_seen",
            "repeats_parameters",
        )
    )
    unique = min(samples, unique)
    optimal = brentq(lambda size: a * A * size**-a - b * B * unique**-b, 1.0, 1e20, rtol=1e-14)
    base = min(parameters, optimal)
    effective_D = unique + unique * repeats_D * (1 - np.exp(-(samples / unique - 1) / repeats_D))
    effective_N = base + base * repeats_N * (1 - np.exp(-(parameters / base - 1) / repeats_N))
    return float(E + A * effective_N**-a + B * effective_D**-b)


@pytest.mark.parametrize(
    ("parameters", "samples", "unique"),
    [(1e8, 1e10, 1e10), (1e8, 1e11, 1e9), (5e9, 1e10, 1e8), (1e7, 3e9, 4e9), (3e10, 1e9, 1e9)],
)
def test_the_law_is_that_of_the_published_equations(parameters: float, samples: float, unique: float) -> None:
    form = form_named("repeated_data_surface")
    references = {"parameters": 1.0, "samples_seen": 1.0, "unique_samples": 1.0}
    law = Law(form=form, theta=tuple(map(float, form.theta(VALUES))), references=references)
    predicted = law.predict(parameters=parameters, samples_seen=samples, unique_samples=unique)
    assert float(predicted) == pytest.approx(by_the_book(parameters, samples, unique), rel=1e-8)


def test_the_optimal_parameters_are_those_of_least_loss_at_equal_compute() -> None:
    A, B, a, b = (
        VALUES[f"{kind}_{name}"] for kind in ("scale", "exponent") for name in ("parameters", "samples_seen")
    )
    unique = 1e9
    optimal = brentq(lambda size: a * A * size**-a - b * B * unique**-b, 1.0, 1e20, rtol=1e-14)
    loss = minimize_scalar(
        lambda log_size: A * np.exp(-a * log_size) + B * (optimal * unique / np.exp(log_size)) ** -b,
        bounds=(10, 30),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert np.exp(loss.x) == pytest.approx(optimal, rel=1e-6)


def test_a_single_pass_is_the_plain_surface_for_towers_within_the_optimum() -> None:
    known = case("repeated_data_bounded_surface")
    plain = law_of(form_named("bounded_surface", ceiling=0.999), known.law.values)
    samples = np.geomspace(1e9, 1e12, 5)
    np.testing.assert_allclose(
        known.law.predict(parameters=1e6, samples_seen=samples, unique_samples=samples),
        plain.predict(parameters=1e6, samples_seen=samples),
        rtol=1e-12,
    )


def test_more_repeats_are_never_worth_more_than_new_samples() -> None:
    all_N, base_RN = np.log(np.geomspace(1, 1e6, 40)), np.zeros((1, 40))
    effective_RN = worth(all_N, base_RN, np.log([[15.0]]))[0]
    assert np.all(np.diff(effective_RN[0]) >= 0) and np.all(effective_RN[0] <= all_N + 1e-12)
    assert effective_RN[0, -1] == pytest.approx(np.log(16.0))  # U + U R*, however often repeated


def test_references_of_samples_that_are_compared_are_one() -> None:
    form = form_named("repeated_data_surface")
    assert form.shared_references == {"unique_samples": "samples_seen"}
