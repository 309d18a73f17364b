"""Forms hold each other as the special cases they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
from form_cases import CEILING, REFERENCES, case, law_of

from analysis.forms.bounded import Bounded
from analysis.forms.catalogue import form_named
from analysis.forms.pinned import Pinned
from analysis.forms.powers import PowerSum

FLOPS = np.geomspace(1e15, 1e21, 9)


def test_a_bounded_law_lies_between_its_floor_and_guessing() -> None:
    law = case("bounded_surface").law
    assert float(law.predict(parameters=1e60, samples_seen=1e60)) == pytest.approx(law.value("floor"))
    assert float(law.predict(parameters=1e-30, samples_seen=1e-30)) == pytest.approx(CEILING)


def test_far_below_guessing_the_bounded_surface_is_additive() -> None:
    values = {**case("bounded_surface").law.values, "scale_parameters": 1e-6, "scale_samples_seen": 2e-6}
    bounded = law_of(form_named("bounded_surface", ceiling=CEILING), values)
    rise = CEILING - values["floor"]
    shrunk = {name: rise * value if "scale" in name else value for name, value in values.items()}
    additive = law_of(form_named("additive_surface"), shrunk)
    at = {"parameters": 3e8, "samples_seen": 4e9}
    assert float(bounded.predict(**at)) == pytest.approx(float(additive.predict(**at)), rel=1e-9)


def test_a_coupling_of_one_is_no_coupling() -> None:
    values = {**case("bounded_surface").law.values, "coupling": 1.0}
    coupled = law_of(form_named("coupled_bounded_surface", ceiling=CEILING), values)
    at = {"parameters": 3e8, "samples_seen": 4e9}
    assert float(coupled.predict(**at)) == pytest.approx(float(case("bounded_surface").law.predict(**at)))


def test_the_coupling_of_a_single_power_is_refused() -> None:
    with pytest.raises(ValueError, match="the coupling of one power is part of its exponent"):
        Bounded(("train_flops",), CEILING, coupled=True)


def test_a_shift_of_nothing_is_a_saturating_power() -> None:
    values = {**case("saturating_power").law.values, "shift": 1e-12}
    shifted = law_of(form_named("shifted_power"), values)
    expected = case("saturating_power").law.predict(train_flops=FLOPS)
    np.testing.assert_allclose(shifted.predict(train_flops=FLOPS), expected, rtol=1e-8)


def test_far_from_the_break_a_broken_law_has_one_exponent_or_the_other() -> None:
    law = case("broken_power_without_floor").law
    for flops, exponent in ((1e8, "exponent_before"), (1e30, "exponent_after")):
        error, further = law.predict(train_flops=[flops, 10 * flops])
        assert -np.log10(further / error) == pytest.approx(law.value(exponent), rel=1e-6)
    assert float(law.predict(train_flops=REFERENCES["train_flops"])) == pytest.approx(law.value("scale"))


def test_the_broken_law_is_the_published_one() -> None:
    law = case("broken_power").law
    values, z_N = law.values, FLOPS / REFERENCES["train_flops"]
    smooth, change = values["smoothness"], values["exponent_after"] - values["exponent_before"]
    bend_N = (1 + (z_N / values["break"]) ** (1 / smooth)) ** (-change * smooth)
    b = values["scale"] * (1 + values["break"] ** (-1 / smooth)) ** (change * smooth)
    expected_N = values["floor"] + b * z_N ** -values["exponent_before"] * bend_N
    np.testing.assert_allclose(law.predict(train_flops=FLOPS), expected_N, rtol=1e-12)


def test_a_pinned_form_is_its_inner_form_at_the_pins() -> None:
    known = case("additive_surface")
    pinned = Pinned(known.law.form, (("floor", 0.1), ("exponent_parameters", 0.35)))
    assert pinned.parameters == ("scale_parameters", "scale_samples_seen", "exponent_samples_seen")
    law = law_of(pinned, known.law.values)
    at = {"parameters": 3e8, "samples_seen": 4e9}
    assert float(law.predict(**at)) == pytest.approx(float(known.law.predict(**at)), rel=1e-12)
    assert law.values == pytest.approx(known.law.values)


@pytest.mark.parametrize("pins", [(("exponent", 1.0),), (("floor", 0.1), ("floor", 0.2))])
def test_pins_that_mean_nothing_are_refused(pins: tuple[tuple[str, float], ...]) -> None:
    with pytest.raises(ValueError, match="at most once"):
        Pinned(PowerSum(("parameters", "samples_seen")), pins)


def test_impossible_ceilings_and_floors_are_refused() -> None:
    for ceiling, floor in ((0.0, None), (1.2, None), (0.5, 0.5), (0.5, -0.1)):
        with pytest.raises(ValueError, match="needs 0 < ceiling <= 1"):
            Bounded(("train_flops",), ceiling, floor)
