"""Numbers of the report as text."""

from __future__ import annotations

import math

from analysis.filters import is_loss
from scaling.units import format_flops, format_quantity

ABSENT = "–"  # a number that was not recorded


def number(value: float, digits: int = 3) -> str:
    """A number to some significant digits without exponent notation; a dash where it is absent."""
    if math.isnan(value):
        return ABSENT
    if value == 0:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{decimals}f}"


def quantity(value: float) -> str:
    """A whole number: 16,384 in full, from a million on with a decimal suffix and three digits."""
    if math.isnan(value):
        return ABSENT
    whole = int(value)
    return f"{whole:,}" if whole < 10**6 else format_quantity(int(float(f"{whole:.3g}")))


def flops(value: float) -> str:
    """Training FLOPs with three significant digits; a dash where they are absent."""
    return ABSENT if math.isnan(value) else format_flops(value)


def share(value: float | None) -> str:
    """A share as a percentage; a dash where it is absent."""
    return ABSENT if value is None or math.isnan(value) else f"{100 * value:.3g} %"


def num_runs(count: int) -> str:
    """A number of runs in words: "1 run", "9 runs"."""
    return f"{count} run" if count == 1 else f"{count} runs"


def score(metric: str, value: float) -> str:
    """A metric as recorded: losses with four digits, fractions with three decimals."""
    if math.isnan(value):
        return ABSENT
    return number(value, 4) if is_loss(metric) else f"{value:.3f}"
