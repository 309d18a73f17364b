"""Numbers as people read them, for captions and text alternatives."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis.intervals.interval import Interval


def number(value: float) -> str:
    """Three significant digits: 0.0123, 1.02, 12,300, 3.4e-06."""
    if not math.isfinite(value):
        return "unbounded"
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return flops(value)
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def flops(value: float) -> str:
    """A large or tiny number in powers of ten: 2.5e14."""
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def probability(value: float) -> str:
    """A probability with two decimals, never rounded to certainty."""
    if value < 0.005 or value > 0.995:
        return "below 0.01" if value < 0.5 else "above 0.99"
    return f"{value:.2f}"


def counted(count: int, noun: str) -> str:
    """ "1 run", "3 runs"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def interval(found: Interval) -> str:
    """ "1.2 [1.05, 1.41]", with the words of an open side, or of no interval."""
    ends = [
        None if end is None or not math.isfinite(end) else number(end) for end in (found.lower, found.upper)
    ]
    if ends == [None, None]:
        return f"{number(found.estimate)} (not identified)"
    lower, upper = ends
    if lower is None:
        return f"{number(found.estimate)} (at most {upper}, no lower bound)"
    if upper is None:
        return f"{number(found.estimate)} (at least {lower}, no upper bound)"
    return f"{number(found.estimate)} [{lower}, {upper}]"


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def short(count: float) -> str:
    """A count with the suffix sweep files use: 128M, 1.28B, 16K."""
    for suffix, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{suffix}"
    return f"{count:.3g}"
