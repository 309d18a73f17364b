"""Numbers in captions and text alternatives are rounded for reading, and an open side is said, not printed."""

import math

import pytest

from analysis.figures import words
from analysis.intervals.interval import Interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "0.0123"),
        (1.0, "1"),
        (12_345.0, "12,345"),
        (-0.25, "-0.25"),
        (0.0, "0"),
        (3.4e-6, "3.4e-6"),
        (2.5e14, "2.5e14"),
        (math.inf, "unbounded"),
    ],
)
def test_a_number_keeps_three_digits(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("lower", "upper", "text"),
    [
        (0.5, 0.9, "0.7 [0.5, 0.9]"),
        (None, 0.9, "0.7 (at most 0.9, no lower bound)"),
        (0.5, None, "0.7 (at least 0.5, no upper bound)"),
        (0.5, math.inf, "0.7 (at least 0.5, no upper bound)"),
        (None, None, "0.7 (not identified)"),
    ],
)
def test_an_open_side_of_an_interval_is_said_in_words(
    lower: float | None, upper: float | None, text: str
) -> None:
    assert (
        words.interval(Interval(estimate=0.7, lower=lower, upper=upper, level=0.95, method="profile")) == text
    )


@pytest.mark.parametrize(("count", "text"), [(128e6, "128M"), (1.28e9, "1.28B"), (16_000, "16K"), (12, "12")])
def test_counts_have_the_suffixes_of_sweep_files(count: float, text: str) -> None:
    assert words.short(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "above 0.99"), (0.004, "below 0.01"), (0.996, "above 0.99"), (0.0, "below 0.01"), (0.453, "0.45")],
)
def test_a_probability_is_never_rounded_to_certainty(value: float, text: str) -> None:
    assert words.probability(value) == text


def test_lists_and_sentences_read_as_english() -> None:
    assert (
        words.listed(["a"]) == "a"
        and words.listed(["a", "b", "c"]) == "a, b and c"
        and words.listed([]) == ""
    )
    assert words.counted(1, "run") == "1 run" and words.counted(2, "run") == "2 runs"
    assert words.sentence("clip is better") == "Clip is better." and words.sentence("Why?") == "Why?"
