"""Intervals of the equal-compute ratio hold the truth as often as they say, in simulated studies."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from analysis.comparison.coverage import Coverage, coverage
from analysis.comparison.worlds import DESIGNS, bounded

NUM_WORLDS = 40
LEAST = 33  # of 40: fewer have a probability below 0.1 % if 95 % are covered


@pytest.fixture(scope="module")
def equal_objectives() -> tuple[Coverage, ...]:
    return coverage(DESIGNS[3], num_worlds=NUM_WORLDS, truth=bounded, num_refits=99)


def test_the_bound_is_binomial() -> None:
    assert binom.cdf(LEAST - 1, NUM_WORLDS, 0.95) < 0.001


def test_equal_objectives_are_told_apart_no_more_often_than_stated(
    equal_objectives: tuple[Coverage, ...],
) -> None:
    for found in equal_objectives:
        assert found.num_covered >= LEAST, found
        assert found.num_decided <= NUM_WORLDS - LEAST


def test_the_intervals_of_a_triangle_are_closed_and_short_within_its_computes(
    equal_objectives: tuple[Coverage, ...],
) -> None:
    at_top = equal_objectives[0]
    assert at_top.num_closed >= 36 and at_top.median_doublings < 1.5
