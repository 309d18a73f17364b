"""The log of the equal-compute ratio and its derivatives, against closed forms and differences."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from analysis.design.assumed import CLIP_VALUES, assumed_beliefs
from analysis.design.beliefs import Belief
from analysis.design.ratio import log_ratio, log_ratios
from analysis.forms.bounded import Bounded
from analysis.forms.form import Law
from analysis.forms.powers import PowerSum
from analysis.frontier import Menu
from analysis.published.pairs import published_pairs

MENU = Menu(towers=("one",), parameters_T=np.asarray([1e8]), flops_per_sample_T=np.asarray([1e11]))


def power(scale: float, exponent: float, floor: float) -> Belief:
    form = PowerSum(("train_flops",))
    values = {"scale_train_flops": scale, "exponent_train_flops": exponent, "floor": floor}
    law = Law(form=form, theta=tuple(form.theta(values)), references={"train_flops": 1e20})
    return Belief(objective="x", law=law, menu=MENU)


def test_laws_with_one_floor_have_the_ratio_of_the_closed_form() -> None:
    studied, rival = power(0.3, 0.4, 0.1), power(0.36, 0.4, 0.1)
    found = log_ratio(studied, rival, 7e20)
    error = float(rival.law.predict(train_flops=7e20))
    same = float(studied.law.predict(train_flops=7e20))
    assert math.exp(found.value) == pytest.approx(((same - 0.1) / (error - 0.1)) ** (1 / 0.4))
    assert math.exp(found.value) == pytest.approx((0.3 / 0.36) ** (1 / 0.4))


def test_an_objective_against_itself_has_a_ratio_of_one() -> None:
    law = power(0.3, 0.4, 0.1)
    assert log_ratio(law, law, 3e20).value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("compute", [1.1e20, 4.5e20, 3e21])
def test_derivatives_are_those_of_finite_differences(compute: float) -> None:
    beliefs = assumed_beliefs()
    found = log_ratio(beliefs.studied, beliefs.rival, compute)
    for side, by_P in (("studied", found.by_studied_P), ("rival", found.by_rival_P)):
        belief = getattr(beliefs, side)
        for index in range(len(by_P)):
            ends = []
            for step in (-1e-5, 1e-5):
                theta = list(belief.law.theta)
                theta[index] += step
                moved = dataclasses.replace(belief, law=dataclasses.replace(belief.law, theta=tuple(theta)))
                pair = dataclasses.replace(beliefs, **{side: moved})
                ends.append(log_ratio(pair.studied, pair.rival, compute).value)
            assert by_P[index] == pytest.approx((ends[1] - ends[0]) / 2e-5, rel=1e-3, abs=1e-5)


def test_many_laws_at_once_have_the_ratios_of_one_at_a_time() -> None:
    beliefs = assumed_beliefs()
    theta_RP = np.asarray(beliefs.studied.law.theta) + np.asarray([[0.0], [0.02], [-0.02]])
    together_R = log_ratios(
        beliefs.studied, beliefs.rival, theta_RP, np.tile(beliefs.rival.law.theta, (3, 1)), 1e21
    )
    for theta_P, ratio in zip(theta_RP, together_R, strict=True):
        law = dataclasses.replace(beliefs.studied.law, theta=tuple(theta_P))
        alone = log_ratio(dataclasses.replace(beliefs.studied, law=law), beliefs.rival, 1e21)
        assert ratio == pytest.approx(alone.value, abs=1e-4)


def test_an_error_below_the_studied_floor_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="which x reaches with no compute within a factor 10000"):
        log_ratio(power(0.3, 0.4, 0.2), power(0.3, 0.4, 0.01), 1e22)


def test_the_assumed_study_has_the_stated_ratio_and_is_near_the_published_errors() -> None:
    beliefs = assumed_beliefs(ratio=0.7, compute=1e21)
    assert math.exp(log_ratio(beliefs.studied, beliefs.rival, 1e21).value) == pytest.approx(0.7)
    printed = published_pairs([8, 9]).query("objective == 'clip' and metric == 'imagenet_zero_shot_top1'")
    told_N = beliefs.rival.law.predict(parameters=printed["parameters"], samples_seen=printed["samples_seen"])
    missed_N = told_N - printed["error"].to_numpy()
    assert np.sqrt(np.mean(missed_N**2)) < 0.016
    assert beliefs.rival.law.value("floor") == pytest.approx(CLIP_VALUES["floor"])


def test_a_law_of_what_a_cell_does_not_tell_is_refused() -> None:
    form = Bounded(("unique_samples",), 0.999)
    law = Law(form=form, theta=(0.0, 0.0, 0.0), references={"unique_samples": 1e8})
    with pytest.raises(ValueError, match="'unique_samples'.*which a cell does not tell"):
        Belief(objective="clip", law=law, menu=MENU)
