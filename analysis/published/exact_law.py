"""The law of three parameters through three points.  Nothing is fitted: it passes through them whatever the truth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from scipy.optimize import brentq

LEAST_EXPONENT, MOST_EXPONENT = 1e-4, 20.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExactLaw:
    """error = floor + scale * (C / the least C)**-exponent through three points; nothing is fitted."""

    floor: float
    scale: float
    exponent: float


def exact_law(compute: Sequence[float], error: Sequence[float]) -> ExactLaw | None:
    """The law through three points (computes rising), or None where its floor or exponent would not be positive."""
    relative = [value / compute[0] for value in compute]
    first, second = error[0] - error[1], error[1] - error[2]
    if not (first > 0 and second > 0):
        return None

    def excess(log_exponent: float) -> float:
        """Of the steps' log ratio over the one wanted; rises with the exponent."""
        one, two, three = (value ** -math.exp(log_exponent) for value in relative)
        return math.log((one - two) / (two - three)) - math.log(first / second)

    ends = math.log(LEAST_EXPONENT), math.log(MOST_EXPONENT / math.log(relative[2]))
    if excess(ends[0]) * excess(ends[1]) > 0:
        return None
    exponent = math.exp(brentq(excess, *ends, xtol=1e-13))
    scale = first / (1 - relative[1] ** -exponent)
    floor = error[0] - scale
    return ExactLaw(floor=floor, scale=scale, exponent=exponent) if floor >= 0 else None
