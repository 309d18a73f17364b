"""Adjusting p-values for asking several metrics the same question."""

from __future__ import annotations

from collections.abc import Mapping


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values, by metric, adjusted so that any false rejection among all has the stated level (Holm 1979).

    ValueError for a p-value outside [0, 1].
    """
    for metric, p_value in p_values.items():
        if not 0 <= p_value <= 1:
            raise ValueError(f"{metric}: p-value {p_value!r} must be between 0 and 1.")
    adjusted: dict[str, float] = {}
    largest, num_left = 0.0, len(p_values)
    for metric in sorted(p_values, key=lambda name: p_values[name]):
        largest = max(largest, min(1.0, num_left * p_values[metric]))
        adjusted[metric] = largest
        num_left -= 1
    return {metric: adjusted[metric] for metric in p_values}
