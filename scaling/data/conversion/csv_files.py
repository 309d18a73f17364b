"""CSV and TSV files of images (bytes, or paths from the file's folder) and captions."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scaling.data.conversion.row_groups import ROWS_PER_GROUP, opened_rows, rows_name
from scaling.data.conversion.rows import Columns, RowPlace
from scaling.data.samples import Opened, Readings


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CsvGroup:
    """Some rows of a CSV file, found by the place in the file where they begin."""

    path: Path
    source: str  # its path as the manifest tells it
    columns: Columns
    header: tuple[str, ...]
    delimiter: str
    first_row: int
    num_rows: int
    offset: int  # bytes
    num_bytes: int | None  # of the whole file
    content_bytes: int | None = None

    @property
    def name(self) -> str:
        return rows_name(self.source, self.first_row, self.num_rows)

    @contextlib.contextmanager
    def open(self, scratch: Path) -> Iterator[Opened]:
        """The rows with an image and a caption; the others are counted."""
        readings = Readings(num_bytes=self.num_bytes or 0)
        place = RowPlace(
            columns=self.columns, root=self.path.parent, name=self.path.stem, first_row=self.first_row
        )
        with open(self.path, "rb") as stream:
            stream.seek(self.offset)
            records = itertools.islice(_records(_Lines(stream), self.delimiter), self.num_rows)
            rows = (dict(zip(self.header, _padded(record, len(self.header)))) for record in records)
            yield opened_rows(rows, place, readings)


def csv_groups(path: Path, source: str, columns: Columns) -> list[CsvGroup]:
    """The rows of a file in groups of 10,000; one pass over it notes where each begins."""
    num_bytes = path.stat().st_size
    with open(path, "rb") as stream:
        first = stream.readline().decode("utf-8-sig", "surrogateescape")
        delimiter = "\t" if "\t" in first else ","
        header = tuple(next(_records([first], delimiter), []))
        columns.check(header, str(path))
        lines = _Lines(stream)
        starts, offset, num_rows = [], lines.offset, 0
        for num_rows, _ in enumerate(_records(lines, delimiter), 1):
            if (num_rows - 1) % ROWS_PER_GROUP == 0:
                starts.append(offset)
            offset = lines.offset
    return [
        CsvGroup(
            path=path,
            source=source,
            columns=columns,
            header=header,
            delimiter=delimiter,
            first_row=number * ROWS_PER_GROUP,
            num_rows=min(ROWS_PER_GROUP, num_rows - number * ROWS_PER_GROUP),
            offset=start,
            num_bytes=num_bytes,
        )
        for number, start in enumerate(starts)
    ]


class _Lines:
    """The lines of a CSV file as text, and where in the file the next one begins."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.offset: int = stream.tell()

    def __iter__(self) -> Iterator[str]:
        for line in self._stream:
            self.offset += len(line)
            # Bytes that are not UTF-8 become lone surrogates, by which the caption is later counted as unreadable.
            yield line.decode("utf-8", "surrogateescape")


def _records(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(sys.maxsize)  # over-long captions are left out when they are shown, not here
    return (record for record in csv.reader(lines, delimiter=delimiter) if record)


def _padded(record: list[str], width: int) -> list[str | None]:
    return [*record, *[None] * (width - len(record))][:width]
