"""A law is an object with `predict`; its coordinates make every law valid by construction."""

import numpy as np
import pytest

from analysis.laws import LogParameters, SaturatingPowerLaw

COMPUTE = np.geomspace(1e12, 1e15, 7)


def test_at_the_reference_compute_the_error_is_floor_plus_scale() -> None:
    law = SaturatingPowerLaw(floor=0.2, scale=0.3, exponent=0.5, reference_compute=1e13)
    assert law.predict(1e13) == pytest.approx(0.5)


def test_four_times_the_compute_at_exponent_one_half_halves_the_reducible_error() -> None:
    law = SaturatingPowerLaw(floor=0.2, scale=0.3, exponent=0.5, reference_compute=1e13)
    np.testing.assert_allclose(law.predict([4e13, 16e13]), [0.35, 0.275])


@pytest.mark.parametrize("wrong", [{"floor": -0.1}, {"scale": 0.0}, {"exponent": -1.0}, {"scale": np.nan}])
def test_a_law_with_an_impossible_parameter_does_not_exist(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a law needs"):
        SaturatingPowerLaw(
            **({"floor": 0.1, "scale": 0.3, "exponent": 0.5, "reference_compute": 1.0} | wrong)
        )


@pytest.mark.parametrize("ceiling", [0.98, np.inf])
@pytest.mark.parametrize("fixed_floor", [None, 0.1])
def test_the_jacobian_equals_central_differences(ceiling: float, fixed_floor: float | None) -> None:
    family = LogParameters(reference_compute=3e13, ceiling=ceiling, fixed_floor=fixed_floor)
    parameters = family.coordinates(0.15, 0.4, 0.3)
    analytic, step = family.jacobian(parameters, COMPUTE), 1e-6
    for column, direction in enumerate(np.eye(len(parameters))):
        above, below = (family.law(parameters + s * step * direction).predict(COMPUTE) for s in (1, -1))
        np.testing.assert_allclose(analytic[:, column], (above - below) / (2 * step), rtol=1e-6, atol=1e-9)


def test_every_coordinate_is_a_law_with_its_floor_below_the_error_of_guessing() -> None:
    family = LogParameters(reference_compute=3e13, ceiling=0.9)
    for coordinates in np.random.default_rng(0).normal(scale=10, size=(50, 3)):
        law = family.law(coordinates)
        assert 0 <= law.floor <= 0.9 and law.scale > 0 and law.exponent > 0


def test_a_law_is_found_again_from_its_coordinates() -> None:
    family = LogParameters(reference_compute=3e13, ceiling=0.9)
    law = family.law(family.coordinates(0.2, 0.4, 0.3))
    assert (law.floor, law.scale, law.exponent) == pytest.approx((0.2, 0.4, 0.3))
