"""What varied between the runs, what did not, and where they ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.report.blocks import Block, Folded, Table, text_column, words
from analysis.report.runs import field_text
from analysis.wording import num_runs


def varied_blocks(varied: Sequence[Mapping[str, Any]]) -> list[Block]:
    """The fields that varied, and behind a summary those that did not."""
    constant = varied_table(varied, constant=True)
    return [
        varied_table(varied, constant=False),
        Folded(summary=f"What was the same in every run ({len(constant.rows)} fields)", blocks=(constant,)),
    ]


def varied_table(varied: Sequence[Mapping[str, Any]], *, constant: bool) -> Table:
    """The rows of a "what varied" list that are constant, or those that are not."""
    rows = []
    for row in varied:
        if (row["kind"] == "constant") != constant:
            continue
        values = row["values"] if isinstance(row["values"], (list, tuple)) else [row["values"]]
        text = ", ".join(field_text(str(row["field"]), value) for value in values)
        kind = () if constant else (words(str(row["kind"])),)
        rows.append((words(str(row["field"])), *kind, words(text)))
    names = ("field", "value") if constant else ("field", "kind", "values")
    caption = "What was the same in every run" if constant else "What varied"
    return Table(caption=caption, columns=tuple(map(text_column, names)), rows=tuple(rows))


def environment_table(table: pd.DataFrame) -> Table:
    """Versions and devices of the finished runs; several values mean that the runs did not share them."""
    rows = []
    for name in (name for name in table.columns if name.startswith("environment.")):
        counts = table[name].value_counts()
        shared = len(counts) == 1
        text = [str(value) if shared else f"{value} ({num_runs(count)})" for value, count in counts.items()]
        rows.append((words(name.removeprefix("environment.")), words(", ".join(text))))
    return Table(
        caption="Environment of the finished runs",
        columns=(text_column("name"), text_column("value")),
        rows=tuple(rows),
    )
