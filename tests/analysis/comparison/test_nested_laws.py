"""Laws that share parameters between two objectives, and the tests between them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from analysis.comparison.joint import JointForm
from analysis.comparison.nested import nested_tests, restrictions, stacked
from analysis.comparison.side import Side
from analysis.comparison.worlds import DESIGNS, Noise, simulate
from analysis.fitting.fit import fit_form
from analysis.forms.bounded import Bounded
from analysis.forms.powers import PowerSum

SURFACE = Bounded(("parameters", "samples_seen"), 0.999)
TRIANGLE = DESIGNS[3]
POINTS = np.asarray([[-1.0, 0.5, 0.0], [0.3, -0.7, np.log(2)], [0.8, 1.2, 0.0], [-0.2, 0.1, np.log(2)]])


def test_each_level_shares_more_than_the_one_before() -> None:
    levels = restrictions(SURFACE)
    assert [name for name, _ in levels] == [
        "all different",
        "same exponents",
        "same floor",
        "pure compute multiplier",
    ]
    for (_, fewer), (_, more) in zip(levels, levels[1:]):
        assert set(fewer) < set(more)
    assert set(SURFACE.parameters) - set(levels[-1][1]) == {"scale_samples_seen"}


def test_with_compute_alone_the_same_floor_is_the_pure_multiplier() -> None:
    names = [name for name, _ in restrictions(PowerSum(("train_flops",)))]
    assert names == ["all different", "same exponents", "pure compute multiplier"]


def test_derivatives_of_a_joint_law_are_its_slopes() -> None:
    form = JointForm(base=SURFACE, shared=("exponent_parameters", "exponent_samples_seen", "floor"))
    theta = np.asarray([np.log(0.3), np.log(0.4), -2.0, -1.0, -0.8, -1.2, -0.5])
    _, derivative = form.derivatives(theta[None], POINTS)
    for row in range(len(POINTS)):
        numeric = approx_fprime(theta, lambda t: form.predict(t[None], POINTS)[0, row], 1e-7)
        np.testing.assert_allclose(derivative[0, row], numeric, atol=1e-6)


def test_values_and_coordinates_are_inverse() -> None:
    form = JointForm(base=SURFACE, shared=("floor",))
    theta = np.linspace(-1.5, 0.5, len(form.parameters))
    values = form.values(theta)
    assert set(values) == set(form.parameters)
    np.testing.assert_allclose(form.theta(values), theta, atol=1e-12)


def test_sharing_nothing_is_fitting_each_objective_alone() -> None:
    studied, rival = simulate(TRIANGLE, seed=0, ratio=1.3)
    joint = fit_form(stacked(studied, rival), JointForm(base=SURFACE, shared=()), studied.fit.options)
    assert joint.evidence is not None
    alone = sum(side.fit.evidence.objective for side in (studied, rival) if side.fit.evidence)
    assert joint.evidence.objective == pytest.approx(alone, rel=1e-5)


def different(seed: int) -> tuple[Side, Side]:
    """Two objectives that differ in exponents, with little noise."""
    noise = Noise(shared_cell=0.002, own_cell=0.002, run=0.002)
    rival = simulate(TRIANGLE, seed=seed, noise=noise)[1]
    studied = simulate(
        TRIANGLE,
        seed=seed,
        noise=noise,
        truth=lambda size, samples: (0.1 + 0.999 * (u := 0.25 * size**-0.3 + 0.45 * samples**-0.6)) / (1 + u),
    )[0]
    return studied, rival


def test_different_exponents_are_found_out() -> None:
    tests, reason = nested_tests(*different(0), num_refits=99)
    assert not reason
    assert tests[0].restriction == "same exponents" and tests[0].p_value == pytest.approx(0.01)
    assert tests[0].p_value_f < 0.001


def test_a_pure_multiplier_is_rejected_no_more_often_than_stated() -> None:
    """16 worlds at 10 %: more than 5 rejections have a probability of 0.3 %."""
    tests = [nested_tests(*simulate(TRIANGLE, seed=seed, ratio=1.3), num_refits=39)[0] for seed in range(16)]
    for level in range(3):
        assert sum(test[level].p_value <= 0.1 for test in tests) <= 5


def test_forms_that_differ_are_not_nested() -> None:
    studied, rival = simulate(TRIANGLE, seed=0)
    other = Bounded(("parameters", "samples_seen"), 0.9)
    fit = fit_form(rival.fit.observations, other, rival.fit.options)
    tests, reason = nested_tests(studied, Side(objective="rival", fit=fit, menu=rival.menu))
    assert tests == () and "nothing to share" in reason
