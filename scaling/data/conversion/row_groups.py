"""What groups of rows of a table or of a saved data set share."""

from __future__ import annotations

from collections.abc import Iterable

from scaling.data.conversion.rows import Row, RowPlace, row_samples
from scaling.data.samples import Opened, Readings, hashed

ROWS_PER_GROUP = 10_000  # as in a tar of img2dataset
ROWS_PER_READ = 64  # some megabytes of images at a time
PROBED_ROWS = 16  # whose images tell how large the set will be


def rows_name(source: str, first_row: int, num_rows: int) -> str:
    """The name of a group: the table and the range of its rows."""
    return f"{source}[{first_row}:{first_row + num_rows}]"


def opened_rows(
    rows: Iterable[Row], place: RowPlace, readings: Readings, *, has_several_captions: bool = False
) -> Opened:
    """The samples of these rows; those that are left out are counted in `readings`."""
    samples = hashed(row_samples(rows, place, readings.rejects), readings)
    return Opened(samples=samples, readings=readings, has_several_captions=has_several_captions)
