"""Holm's adjustment, against the worked example of the definition."""

from __future__ import annotations

import pytest

from analysis.comparison.holm import holm


def test_p_values_are_multiplied_by_how_many_are_left_and_never_fall() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(adjusted) == ["a", "b", "c", "d"]


def test_one_metric_needs_no_adjustment_and_none_stays_none() -> None:
    assert holm({"a": 0.2}) == {"a": 0.2}
    assert holm({}) == {}


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="recall: p-value 1.2"):
        holm({"top1": 0.1, "recall": 1.2})
