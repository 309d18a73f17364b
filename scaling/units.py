"""Quantities with decimal suffixes ("1.28B") and the one canonical quantity of the harness: samples seen."""

from __future__ import annotations

import re
from decimal import Decimal

SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_QUANTITY = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+]?[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_quantity(value: object) -> int:
    """A whole number of samples from 512_000_000, "512M" or "1.28B" (decimal suffixes K, M, B, T).

    Raises ValueError for an unknown suffix, a negative or a fractional number of samples.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is not a quantity: write a number such as 4096, '512M' or '1.28B'.")
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a quantity: write a number such as 4096, '512M' or '1.28B'.")
    digits, suffix = match.groups()
    if suffix.upper() not in SUFFIXES:
        known = ", ".join(filter(None, SUFFIXES))
        raise ValueError(
            f"{value!r} has the unknown unit {suffix!r}: use one of {known} (decimal: 1K = 1,000)."
        )
    number = Decimal(digits.replace("_", "").replace(",", "")) * SUFFIXES[suffix.upper()]
    if number != number.to_integral_value():
        raise ValueError(f"{value!r} is {number} samples: a quantity must be a whole number.")
    return int(number)


def format_quantity(number: int) -> str:
    """The shortest exact text of a quantity: 1280000000 -> "1.28B", 4096 -> "4096"."""
    for suffix, size in reversed(SUFFIXES.items()):
        scaled = Decimal(number) / size
        text = f"{scaled.normalize():f}{suffix}"
        if suffix and scaled >= 1 and len(text) < len(str(number)):
            return text
    return str(number)


def format_flops(flops: float) -> str:
    """FLOPs with three significant digits: 1.234e21 -> "1.23e21"."""
    mantissa, exponent = f"{flops:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"
