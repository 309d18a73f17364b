"""Tables of images and captions: CSV, TSV and parquet files."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import TypeVar

from scaling.data.conversion.csv_files import CsvGroup, csv_groups
from scaling.data.conversion.parquet_files import ParquetGroup, parquet_groups
from scaling.data.conversion.row_groups import PROBED_ROWS
from scaling.data.conversion.rows import Columns

TABLES = (".csv", ".tsv", ".parquet")


def table_groups(path: Path, source: str, columns: Columns) -> list[CsvGroup] | list[ParquetGroup]:
    """The rows of a table in groups of about 10,000; ValueError for a table without these columns."""
    if path.suffix == ".parquet":
        return with_expected_bytes(parquet_groups(path, source, columns))
    return with_expected_bytes(csv_groups(path, source, columns))


_RowGroup = TypeVar("_RowGroup", CsvGroup, ParquetGroup)


def with_expected_bytes(groups: list[_RowGroup]) -> list[_RowGroup]:
    """The groups with their expected size, estimated from the table's first few images."""
    if not groups:
        return []
    with groups[0].open(Path()) as opened:
        sizes = [len(sample.image) for sample in itertools.islice(opened.samples, PROBED_ROWS)]
    mean_bytes = sum(sizes) / max(1, len(sizes))
    return [dataclasses.replace(group, content_bytes=int(group.num_rows * mean_bytes)) for group in groups]
