"""The closed form for floor and scale against scipy's non-negative least squares."""

import numpy as np
import pytest
from scipy.optimize import nnls

from analysis.projection import project

CENTRED = np.linspace(-3, 3, 9)
EXPONENTS = np.geomspace(0.01, 4, 25)


@pytest.mark.parametrize("shape", ["falling", "rising", "steep", "noise"])
def test_floor_and_scale_equal_non_negative_least_squares(shape: str) -> None:
    rng = np.random.default_rng(3)
    error = {
        "falling": 0.2 + 0.3 * np.exp(-0.4 * CENTRED),
        "rising": 0.5 + 0.05 * CENTRED,
        "steep": np.exp(-3 * CENTRED),
        "noise": rng.uniform(0.1, 0.9, 9),
    }[shape]
    weights = rng.uniform(0.5, 2, (3, 9))
    projection = project(CENTRED, error, weights, EXPONENTS)
    for row, weight in enumerate(weights):
        for column, exponent in enumerate(EXPONENTS):
            design = np.stack([np.ones(9), np.exp(-exponent * CENTRED)], axis=1)
            _, distance = nnls(np.sqrt(weight)[:, None] * design, np.sqrt(weight) * error)
            assert projection.squared_error_RG[row, column] == pytest.approx(distance**2, rel=1e-6, abs=1e-9)


def test_the_floor_never_passes_its_ceiling() -> None:
    projection = project(CENTRED, 0.8 + 0.1 * np.exp(-CENTRED), np.ones((1, 9)), EXPONENTS, ceiling=0.5)
    assert projection.floor_RG.max() <= 0.5


def test_a_fixed_floor_stays_where_it_was_put() -> None:
    projection = project(CENTRED, 0.2 + np.exp(-CENTRED), np.ones((1, 9)), EXPONENTS, fixed_floor=0.1)
    assert np.all(projection.floor_RG == 0.1)
