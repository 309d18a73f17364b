"""Tables of a report, printed on the terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table as RichTable

from scaling.commands.arguments import wide_console

if TYPE_CHECKING:
    from analysis.report.blocks import Table

MOST_COLUMNS = 7  # that are readable side by side at 100 characters


def print_table(table: Table) -> None:
    """Print a table whose rows begin with metric and objective; one too wide is turned, a block per objective."""
    headings = [f"{column.group} {column.name}".strip() for column in table.columns]
    rows = [[cell.text for cell in row] for row in table.rows]
    if len(headings) <= MOST_COLUMNS:
        print_rows(table.caption, headings, rows)
        return
    for (metric, objective), group in itertools.groupby(rows, key=lambda row: (row[0], row[1])):
        columns = [row[2:] for row in group]
        turned = [[name, *values] for name, *values in zip(headings[2:], *columns, strict=True)]
        print_rows(f"{table.caption}: {metric}, {objective}", ["", *("" for _ in columns)], turned)


def print_upright(table: Table) -> None:
    """Print a table as it is, headings without the groups that they belong to."""
    headings = [column.name for column in table.columns]
    print_rows(table.caption, headings, [[cell.text for cell in row] for row in table.rows])


def print_rows(title: str, headings: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of texts below a title, with an empty line behind."""
    shown = RichTable(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    wide_console().print(shown)
    wide_console().print()
