"""Three points give slopes, an exactly determined law and a ratio without interval, and the words say that."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from analysis.published.exact_law import exact_law
from analysis.published.pairs import published_pairs
from analysis.published.three_points import three_points

COMPUTE = (1e20, 4e20, 1e21)


def pairs_of(studied: list[float], rival: list[float], compute: tuple[float, ...] = COMPUTE) -> pd.DataFrame:
    rows = [
        {"objective": name, "run_id": f"{name}-{row}", "metric": "top1", "train_flops": flops, "error": error}
        for name, errors in (("superclass", studied), ("clip", rival))
        for row, (flops, error) in enumerate(zip(compute, errors, strict=True))
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("floor", "exponent"), [(0.0, 0.3), (0.1, 0.3), (0.25, 1.4)])
def test_the_law_through_three_points_of_a_known_law_is_that_law(floor: float, exponent: float) -> None:
    law = exact_law(COMPUTE, [floor + 0.4 * (value / 1e20) ** -exponent + 1e-12 for value in COMPUTE])
    assert law is not None
    assert (law.floor, law.scale, law.exponent) == pytest.approx((floor, 0.4, exponent), abs=1e-6)


@pytest.mark.parametrize("error", [[0.5, 0.5, 0.4], [0.5, 0.45, 0.2], [0.3, 0.4, 0.5]])
def test_points_that_no_falling_convex_law_joins_have_no_law(error: list[float]) -> None:
    assert exact_law(COMPUTE, error) is None


def test_points_of_a_law_with_a_floor_below_zero_have_no_law() -> None:
    assert exact_law(COMPUTE, [-0.1 + 0.8 * (value / 1e20) ** -0.3 for value in COMPUTE]) is None


def test_of_two_power_laws_the_ratio_is_their_distance_and_leaving_a_point_out_misses_nothing() -> None:
    rival = [0.6 * (value / 1e20) ** -0.2 for value in COMPUTE]
    studied = [0.6 * (2 * value / 1e20) ** -0.2 for value in COMPUTE]
    found = three_points(pairs_of(studied, rival), "top1")
    # the rival's least compute is out of range
    assert [compute for compute, _ in found.ratios] == [4e20, 1e21]
    assert [ratio for _, ratio in found.ratios] == pytest.approx([0.5, 0.5])
    assert found.studied.slopes == pytest.approx((0.2, 0.2))
    assert all(out.predicted == pytest.approx(out.error) for out in found.studied.left_out)


def test_there_is_no_ratio_where_more_compute_gave_more_error() -> None:
    found = three_points(pairs_of([0.5, 0.3, 0.4], [0.6, 0.45, 0.35]), "top1")
    assert found.ratios == ()
    assert "no ratio at equal error" in found.sentences()[0]


def test_the_papers_data_scaling_bends_and_its_floor_moves_with_seed_noise() -> None:
    found = three_points(published_pairs([8]), "imagenet_linear_probe_top1")
    # arithmetic on Table 8: ln(30.6 / 20.3) / ln 4, ln(20.3 / 18.1) / ln 2.5 for CLIP
    assert found.rival.slopes == pytest.approx((math.log(30.6 / 20.3) / math.log(4), 0.1252), abs=1e-3)
    assert found.studied.slopes == pytest.approx((0.284, 0.124), abs=1e-3)
    assert found.studied.floors is not None and found.studied.floors[1] > found.studied.floors[0] + 0.02


def test_the_words_say_that_nothing_is_left_to_judge_the_law_by() -> None:
    told = " ".join(three_points(published_pairs([8]), "imagenet_linear_probe_top1").sentences())
    assert (
        "exactly determine" in told and "no interval can be stated" in told and "without an interval" in told
    )


def test_other_than_three_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="superclass: 7 runs where 3 are wanted"):
        three_points(published_pairs(), "imagenet_linear_probe_top1")


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'top2': not among .*imagenet_linear_probe_top1"):
        three_points(published_pairs([8]), "top2")
