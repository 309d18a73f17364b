"""Quantities of samples, as people write them and as runs are named."""

from __future__ import annotations

import pytest

from scaling.units import format_flops, format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("written", "samples"),
    [
        (4096, 4096),
        ("4096", 4096),
        ("16_384", 16_384),
        ("16,384", 16_384),
        ("12K", 12_000),
        ("512M", 512_000_000),
        ("8.192M", 8_192_000),
        ("1.28B", 1_280_000_000),
        ("13b", 13_000_000_000),
        ("2T", 2_000_000_000_000),
        (5e8, 500_000_000),
        ("1.28e9", 1_280_000_000),
        (" 2 K ", 2_000),
    ],
)
def test_a_quantity_is_read_with_decimal_suffixes(written: object, samples: int) -> None:
    assert parse_quantity(written) == samples


@pytest.mark.parametrize(
    "written", ["12X", "12KB", "K", "", "-3", "1e-3", None, True, [1], "1.5", "0.0001K", "1 2"]
)
def test_what_is_not_a_whole_number_of_samples_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="quantity|unknown unit"):
        parse_quantity(written)


def test_an_unknown_unit_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'12X'.*unit 'X'.*K, M, B, T.*1K = 1,000"):
        parse_quantity("12X")


@pytest.mark.parametrize(
    "number", [0, 1, 999, 1_000, 4_096, 16_384, 8_192_000, 512_000_000, 1_280_000_000, 123_456_789]
)
def test_a_formatted_quantity_reads_back_exactly(number: int) -> None:
    assert parse_quantity(format_quantity(number)) == number


def test_round_quantities_are_formatted_short() -> None:
    assert [format_quantity(n) for n in (256, 12_000, 512_000_000, 1_280_000_000)] == [
        "256",
        "12K",
        "512M",
        "1.28B",
    ]


def test_flops_have_three_significant_digits() -> None:
    assert format_flops(1.6543e21) == "1.65e21"
