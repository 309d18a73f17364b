"""Makes samples from rows of a table: an image column of bytes or paths, a caption column, perhaps a key column."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.data.conversion.captioned_members import main_first, stripped
from scaling.data.samples import (
    DUPLICATE_KEY,
    EMPTY_CAPTION,
    MISSING_CAPTION,
    MISSING_IMAGE,
    UNREADABLE_CAPTION,
    Sample,
)

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Which columns of a table hold what."""

    # bytes, {"bytes", "path"} as Hugging Face stores them, or a path from the table's folder
    image: str = "image"
    caption: str = "caption"  # a text, or a list of texts
    key: str | None = None  # None: the table's name and the number of the row

    def names(self) -> list[str]:
        return [name for name in (self.image, self.caption, self.key) if name is not None]

    def check(self, present: Sequence[str], where: str) -> None:
        """Raise ValueError unless the table has them."""
        wanted = {"image": self.image, "caption": self.caption, "key": self.key}
        for option, name in wanted.items():
            if name is not None and name not in present:
                raise ValueError(
                    f"{where} has no column {name!r}; its columns are {', '.join(present)}: name the right one with "
                    f"--{option}-column."
                )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RowPlace:
    """Where rows come from: needed for their keys, for relative paths and for messages."""

    columns: Columns
    root: Path  # relative paths of images begin here
    name: str  # of the table
    first_row: int


def row_samples(rows: Iterable[Row], place: RowPlace, rejects: Counter[str]) -> Iterator[Sample]:
    """The rows with an image and a caption; the others counted by reason."""
    seen: set[str] = set()
    columns = place.columns
    for number, row in enumerate(rows, place.first_row):
        key = f"{place.name}-{number:09d}" if columns.key is None else str(row[columns.key])
        if key in seen:
            rejects[DUPLICATE_KEY] += 1
            continue
        seen.add(key)
        image = _image(row[columns.image], place)
        if image is None:
            rejects[MISSING_IMAGE] += 1
            continue
        captions = _captions(row[columns.caption], rejects)
        if captions:
            yield Sample(key=key, image=image, captions=captions)


def _captions(cell: object, rejects: Counter[str]) -> tuple[str, ...]:
    """The captions, main one first; () if none is usable, and the reason is counted."""
    try:
        stated = (
            [] if cell is None else [stripped(text) for text in (cell if isinstance(cell, list) else [cell])]
        )
    except (ValueError, TypeError):
        rejects[UNREADABLE_CAPTION] += 1
        return ()
    captions = main_first(stated)
    if any(captions):
        return captions
    rejects[EMPTY_CAPTION if captions else MISSING_CAPTION] += 1
    return ()


def _image(cell: object, place: RowPlace) -> bytes | None:
    """The bytes of an image; None if there are none."""
    if isinstance(cell, Mapping):  # Hugging Face's Image: bytes, or else a path
        content = cell.get("bytes")
        return _image(cell.get("path") if content is None else content, place)
    if isinstance(cell, bytes):
        return cell or None
    if not isinstance(cell, str):
        if cell is None:
            return None
        raise ValueError(
            f"{place.name}: the column {place.columns.image!r} holds {type(cell).__name__}, not image bytes or "
            "paths: name the right one with --image-column."
        )
    if "://" in cell:
        raise ValueError(
            f"{place.name}: the column {place.columns.image!r} holds the URL {json.dumps(cell)}: images are not "
            "downloaded here; fetch them with img2dataset and convert its tars."
        )
    try:
        return (place.root / cell).read_bytes() if cell else None
    except (FileNotFoundError, IsADirectoryError):
        return None
