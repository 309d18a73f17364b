"""The frontier is the least error a tower of the menu reaches at a compute, and names that tower."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from form_cases import case

from analysis.forms.catalogue import form_named
from analysis.forms.form import Law
from analysis.frontier import BEYOND, Menu, beyond_samples, frontier, frontier_errors, tower_errors

A, B, E, ALPHA, BETA = 482.01, 2085.43, 1.8172, 0.3478, 0.3658  # Besiroglu 2024


def menu_of(parameters_T: np.ndarray[tuple[int], np.dtype[np.float64]], **more: float) -> Menu:
    names = tuple(f"tower_{index}" for index in range(len(parameters_T)))
    return Menu(towers=names, parameters_T=parameters_T, flops_per_sample_T=6 * parameters_T, **more)


def test_a_dense_menu_reaches_the_closed_form_of_the_optimum() -> None:
    form = form_named("additive_surface")
    values = dict(zip(form.parameters, (A, B, ALPHA, BETA, E), strict=True))
    law = Law(
        form=form,
        theta=tuple(map(float, form.theta(values))),
        references={"parameters": 1.0, "samples_seen": 1.0},
    )
    compute_M = np.geomspace(1e19, 1e24, 11)
    best = frontier(law, menu_of(np.geomspace(1e7, 1e13, 6_001)), compute_M)
    scale = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))  # Hoffmann 2022, eq. 4
    size_M = scale * (compute_M / 6) ** (BETA / (ALPHA + BETA))
    samples_M = compute_M / 6 / size_M
    np.testing.assert_allclose(best.error_M, E + A * size_M**-ALPHA + B * samples_M**-BETA, rtol=1e-7)
    assert best.towers[0] != best.towers[-1]
    for compute, error, tower in zip(compute_M, best.error_M, best.towers, strict=True):
        size = np.geomspace(1e7, 1e13, 6_001)[int(tower.removeprefix("tower_"))]
        assert float(law.predict(parameters=size, samples_seen=compute / 6 / size)) == pytest.approx(error)


def test_many_laws_at_once_are_the_frontiers_one_by_one() -> None:
    law = case("bounded_surface").law
    menu, compute_M = menu_of(np.asarray([5e6, 2e7, 8e7, 3e8])), np.geomspace(1e17, 1e21, 7)
    theta_RP = np.asarray(law.theta) + np.random.default_rng(0).normal(0, 0.1, (3, 5))
    errors_RM = frontier_errors(law.form, theta_RP, law.references, menu, compute_M)
    for theta_P, error_M in zip(theta_RP, errors_RM, strict=True):
        one = frontier(Law(form=law.form, theta=tuple(theta_P), references=law.references), menu, compute_M)
        np.testing.assert_allclose(error_M, one.error_M)
    assert tower_errors(law.form, theta_RP, law.references, menu, compute_M).shape == (3, 4, 7)


def test_a_menu_with_little_data_repeats_it() -> None:
    law = case("repeated_data_bounded_surface").law
    sizes = np.asarray([5e6, 2e7, 8e7])
    plenty, little = menu_of(sizes), menu_of(sizes, unique_samples=1e8)
    error_M = [frontier(law, menu, [1e15, 1e20]).error_M for menu in (plenty, little)]
    assert error_M[0][0] == error_M[1][0] and error_M[0][1] < error_M[1][1]


def test_a_menu_without_towers_and_a_compute_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a tower"):
        menu_of(np.asarray([]))
    with pytest.raises(ValueError, match="compute must be positive"):
        frontier(case("bounded_surface").law, menu_of(np.asarray([1e8])), [0.0])


def test_a_tower_that_is_trained_beyond_its_runs_is_told() -> None:
    law, towers = case("bounded_surface").law, menu_of(np.asarray([5e6, 2e7, 8e7, 3e8]))
    told = dataclasses.replace(towers, most_samples_T=np.full(len(towers.towers), 1e9))
    compute_M = np.geomspace(1e15, 1e21, 40)
    best = frontier(law, towers, compute_M).towers
    per_sample = dict(zip(towers.towers, towers.flops_per_sample_T, strict=True))
    expected_M = [
        compute / per_sample[tower] > BEYOND * 1e9 for compute, tower in zip(compute_M, best, strict=True)
    ]
    assert beyond_samples(law, told, compute_M).tolist() == expected_M
    assert 0 < sum(expected_M) < len(compute_M)
    assert not beyond_samples(law, towers, compute_M).any(), "nobody said how far the runs go"
