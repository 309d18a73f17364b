"""Amplitudes in closed form are those of non-negative least squares, and seeds are apart."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from analysis.forms.projection import grid, project, spread_best


def test_amplitudes_are_those_of_non_negative_least_squares() -> None:
    rng = np.random.default_rng(0)
    basis_GNM = rng.normal(size=(40, 25, 3)) + 0.3
    target_N, weight_N = rng.normal(size=25) + 0.5, rng.uniform(0.2, 3, 25)
    amplitude_GM, squared_G = project(basis_GNM, target_N, weight_N)
    for basis_NM, amplitude_M, squared in zip(basis_GNM, amplitude_GM, squared_G, strict=True):
        root_N = np.sqrt(weight_N)
        expected_M, residual = nnls(basis_NM * root_N[:, None], target_N * root_N)
        np.testing.assert_allclose(amplitude_M, expected_M, atol=1e-9)
        np.testing.assert_allclose(squared, residual**2, rtol=1e-9)


def test_a_basis_that_is_twice_the_same_has_a_solution() -> None:
    column_N = np.geomspace(1, 2, 12)
    basis_GNM = np.stack([column_N, column_N], axis=1)[None]
    amplitude_GM, squared_G = project(basis_GNM, 3 * column_N, np.ones(12))
    np.testing.assert_allclose(amplitude_GM.sum(), 3, rtol=1e-6)
    assert squared_G[0] < 1e-9


def test_seeds_are_the_best_of_their_neighbourhoods() -> None:
    axes = [np.arange(12.0), np.arange(12.0)]
    place_GL = grid(axes)
    squared_G = np.minimum(((place_GL - 2) ** 2).sum(axis=1), 0.5 + ((place_GL - 9) ** 2).sum(axis=1))
    rows = spread_best(squared_G, place_GL, axes, 2)
    assert place_GL[rows].tolist() == [[2.0, 2.0], [9.0, 9.0]]
