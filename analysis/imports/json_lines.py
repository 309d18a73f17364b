"""Files of one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """(file and line, object) of every line that is not blank; ValueError names the line that is not an object."""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{where}: not JSON ({error.msg}): {line[:60]!r}; was the file cut off?"
            ) from error
        if not isinstance(row, dict):
            raise ValueError(f"{where}: {line[:60]!r} is not a JSON object; every line is one row.")
        yield where, row
