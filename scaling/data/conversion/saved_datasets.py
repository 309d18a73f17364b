"""Hugging Face data sets as `save_to_disk` leaves them: a folder of Arrow streams and `state.json`.

Read with pyarrow alone: the package `datasets` needs another huggingface_hub than streaming does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling.data.conversion.optional_packages import optional_module
from scaling.data.conversion.row_groups import PROBED_ROWS, ROWS_PER_READ, opened_rows
from scaling.data.conversion.rows import Columns, RowPlace
from scaling.data.samples import Opened, Readings

STATE = "state.json"
SPLITS = "dataset_dict.json"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ArrowGroup:
    """One Arrow file of a saved data set."""

    path: Path
    name: str
    columns: Columns
    first_row: int  # of this file, in the data set
    num_bytes: int | None
    content_bytes: int | None
    has_several_captions: bool

    @contextlib.contextmanager
    def open(self, scratch: Path) -> Iterator[Opened]:
        """The rows with an image and a caption; the others are counted."""
        readings = Readings(num_bytes=self.num_bytes or 0)
        place = RowPlace(
            columns=self.columns, root=self.path.parent, name=self.path.parent.name, first_row=self.first_row
        )
        with _stream(self.path) as reader:
            rows = (
                row
                for batch in reader
                for start in range(0, batch.num_rows, ROWS_PER_READ)
                for row in batch.slice(start, ROWS_PER_READ).select(self.columns.names()).to_pylist()
            )
            yield opened_rows(rows, place, readings, has_several_captions=self.has_several_captions)


def saved_splits(folder: Path) -> dict[str, Path]:
    """The data sets of a folder by split; "" is the folder itself."""
    if (folder / STATE).is_file():
        return {"": folder}
    splits: list[str] = json.loads((folder / SPLITS).read_text(encoding="utf-8"))["splits"]
    return {split: folder / split for split in splits}


def arrow_groups(folder: Path, columns: Columns) -> list[ArrowGroup]:
    """One group for each Arrow file; ValueError for a data set without these columns."""
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise ValueError(
            f"{folder}: this data set is a selection by indices: call flatten_indices() before save_to_disk()."
        )
    paths = [folder / file["filename"] for file in state["_data_files"]]
    groups = [_group(path, folder, columns) for path in paths]
    starts = itertools.accumulate((num_rows for _, num_rows in groups), initial=0)
    return [dataclasses.replace(group, first_row=start) for (group, _), start in zip(groups, starts)]


def _group(path: Path, folder: Path, columns: Columns) -> tuple[ArrowGroup, int]:
    """The group of a file, and its number of rows."""
    with _stream(path) as reader:
        columns.check(reader.schema.names, str(folder))
        captions = str(reader.schema.field(columns.caption).type)
        num_rows = sum(batch.num_rows for batch in reader)
    group = ArrowGroup(
        path=path,
        name=f"{folder.name}/{path.name}",
        columns=columns,
        first_row=0,
        num_bytes=path.stat().st_size,
        content_bytes=None,
        has_several_captions="list" in captions,
    )
    with group.open(Path()) as opened:
        sizes = [len(sample.image) for sample in itertools.islice(opened.samples, PROBED_ROWS)]
    return dataclasses.replace(group, content_bytes=num_rows * sum(sizes) // max(1, len(sizes))), num_rows


@contextlib.contextmanager
def _stream(path: Path) -> Iterator[Any]:
    arrow = optional_module("pyarrow", purpose="Hugging Face data sets")
    try:
        source = arrow.memory_map(str(path))
        reader = arrow.ipc.open_stream(source)
    except Exception as error:  # pyarrow's own exceptions; they name no file
        raise ValueError(f"{path} is not an Arrow file of a saved data set ({error}).") from error
    with source, reader:
        yield reader
