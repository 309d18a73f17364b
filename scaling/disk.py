"""Files that are whole at every moment, and that survive a power cut."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def sync_to_disk(path: Path) -> None:
    """Return when a file, or all files below a folder and the folders' listings, would survive a power cut."""
    for entry in (*path.rglob("*"), path):
        sync_entry(entry)


def sync_entry(path: Path) -> None:
    """Return when a file's content, or a folder's listing, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class WriteError(RuntimeError):
    """A file of a run could not be written; nothing half-written was left behind."""


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either its old or its new content, never a part.

    Raises WriteError naming the file and the cause (full disk, read-only folder).
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(aside, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise WriteError(
            f"{path}: not written ({error.strerror or error}); the previous content is intact."
        ) from error


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append each JSON object as a line; a torn last line of a killed writer is cut off first."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    try:
        with open(path, "ab+") as stream:
            _drop_torn_line(stream)
            stream.write(text.encode())
    except OSError as error:
        raise WriteError(f"{path}: not appended to ({error.strerror or error}).") from error


def _drop_torn_line(stream: Any) -> None:
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        return
    stream.seek(size - 1)
    if stream.read(1) == b"\n":
        return
    stream.seek(0)
    whole = stream.read().rfind(b"\n") + 1
    stream.truncate(whole)


def cut_lines_from(path: Path, key: str, value: int) -> None:
    """Drop the lines whose `key` is `value` or more: an attempt that continues writes them again."""
    rows = list(read_lines(path))
    kept = [row for row in rows if row[key] < value]
    if len(kept) < len(rows):
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of an appended file, in order; nothing if it does not exist, a torn last line left out.

    ValueError naming the line where any other is not a JSON object.
    """
    if not path.exists():
        return
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.endswith(b"\n"):
                yield _json_object(line, f"{path}, line {number}")


def _json_object(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: not JSON ({error}).") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: not a JSON object, but {type(row).__name__}.")
    return row
