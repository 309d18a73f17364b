"""CSV, TSV and parquet files of images (bytes, or paths from the file's folder) and captions."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from scaling.data.conversion.optional_packages import optional_module
from scaling.data.conversion.rows import Columns, Row, RowPlace, row_samples
from scaling.data.samples import Opened, Readings, hashed

ROWS_PER_GROUP = 10_000  # as in a tar of img2dataset
TABLES = (".csv", ".tsv", ".parquet")
ROWS_PER_READ = 64  # of a parquet file: some megabytes of images at a time
PROBED_ROWS = 16  # whose images tell how large the set will be


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
        with open(self.path, "rb") as stream:
            stream.seek(self.offset)
            records = itertools.islice(_records(_Lines(stream), self.delimiter), self.num_rows)
            rows = (dict(zip(self.header, _padded(record, len(self.header)))) for record in records)
            yield _opened(rows, self.path, self.columns, self.first_row, readings)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ParquetGroup:
    """Some row groups of a parquet file."""

    path: Path
    source: str  # its path as the manifest tells it
    columns: Columns
    row_groups: tuple[int, ...]
    first_row: int
    num_rows: int
    num_bytes: int | None  # of the whole file
    has_several_captions: bool
    content_bytes: int | None = None

    @property
    def name(self) -> str:
        return rows_name(self.source, self.first_row, self.num_rows)

    @contextlib.contextmanager
    def open(self, scratch: Path) -> Iterator[Opened]:
        """The rows with an image and a caption; the others are counted."""
        readings = Readings(num_bytes=self.num_bytes or 0)
        with _parquet_file(self.path) as file:
            batches = file.iter_batches(
                batch_size=ROWS_PER_READ, row_groups=list(self.row_groups), columns=self.columns.names()
            )
            rows = (row for batch in batches for row in batch.to_pylist())
            opened = _opened(rows, self.path, self.columns, self.first_row, readings)
            yield dataclasses.replace(opened, has_several_captions=self.has_several_captions)


def rows_name(source: str, first_row: int, num_rows: int) -> str:
    return f"{source}[{first_row}:{first_row + num_rows}]"


def table_groups(path: Path, source: str, columns: Columns) -> list[CsvGroup] | list[ParquetGroup]:
    """The rows of a table in groups of about 10,000; ValueError for a table without these columns."""
    if path.suffix == ".parquet":
        return with_expected_bytes(_parquet_groups(path, source, columns))
    return with_expected_bytes(_csv_groups(path, source, columns))


_RowGroup = TypeVar("_RowGroup", CsvGroup, ParquetGroup)


def with_expected_bytes(groups: list[_RowGroup]) -> list[_RowGroup]:
    """The groups with their expected size, estimated from the table's first few images."""
    if not groups:
        return []
    with groups[0].open(Path()) as opened:
        sizes = [len(sample.image) for sample in itertools.islice(opened.samples, PROBED_ROWS)]
    mean_bytes = sum(sizes) / max(1, len(sizes))
    return [dataclasses.replace(group, content_bytes=int(group.num_rows * mean_bytes)) for group in groups]


def _opened(rows: Iterable[Row], path: Path, columns: Columns, first_row: int, readings: Readings) -> Opened:
    place = RowPlace(columns=columns, root=path.parent, name=path.stem, first_row=first_row)
    return Opened(samples=hashed(row_samples(rows, place, readings.rejects), readings), readings=readings)


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


def _csv_groups(path: Path, source: str, columns: Columns) -> list[CsvGroup]:
    """Groups of 10,000 rows; one pass over the file notes where each begins."""
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


@contextlib.contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    parquet = optional_module("pyarrow.parquet", purpose="parquet files")
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # pyarrow's own exceptions; they name no file
        raise ValueError(f"{path} is not a parquet file ({error}).") from error
    with file:
        yield file


def _parquet_groups(path: Path, source: str, columns: Columns) -> list[ParquetGroup]:
    with _parquet_file(path) as file:
        columns.check(file.schema_arrow.names, str(path))
        caption_type = str(file.schema_arrow.field(columns.caption).type)
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    num_bytes = path.stat().st_size
    return [
        ParquetGroup(
            path=path,
            source=source,
            columns=columns,
            row_groups=tuple(row_groups),
            first_row=sum(sizes[: row_groups[0]]),
            num_rows=sum(sizes[number] for number in row_groups),
            num_bytes=num_bytes,
            has_several_captions="list" in caption_type,
        )
        for row_groups in _batched(sizes)
    ]


def _batched(sizes: list[int]) -> Iterator[list[int]]:
    """Consecutive row groups (by index) with at most 10,000 rows together, or one with more."""
    batch: list[int] = []
    for number, size in enumerate(sizes):
        if batch and sum(sizes[one] for one in batch) + size > ROWS_PER_GROUP:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
