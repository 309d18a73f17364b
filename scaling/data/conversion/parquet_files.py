"""Parquet files of images (bytes, or paths from the file's folder) and captions."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling.data.conversion.optional_packages import optional_module
from scaling.data.conversion.row_groups import ROWS_PER_GROUP, ROWS_PER_READ, opened_rows, rows_name
from scaling.data.conversion.rows import Columns, RowPlace
from scaling.data.samples import Opened, Readings


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
        place = RowPlace(
            columns=self.columns, root=self.path.parent, name=self.path.stem, first_row=self.first_row
        )
        with _parquet_file(self.path) as file:
            batches = file.iter_batches(
                batch_size=ROWS_PER_READ, row_groups=list(self.row_groups), columns=self.columns.names()
            )
            rows = (row for batch in batches for row in batch.to_pylist())
            yield opened_rows(rows, place, readings, has_several_captions=self.has_several_captions)


def parquet_groups(path: Path, source: str, columns: Columns) -> list[ParquetGroup]:
    """The row groups of a file, joined to groups of up to 10,000 rows."""
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


@contextlib.contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    parquet = optional_module("pyarrow.parquet", purpose="parquet files")
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # pyarrow's own exceptions; they name no file
        raise ValueError(f"{path} is not a parquet file ({error}): copy it again.") from error
    with file:
        yield file


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
