"""A plan as `scaling plan` prints it."""

from __future__ import annotations

import io

from rich.console import Console

from scaling.plan import Plan
from scaling.planning.plan_notes import plan_notes
from scaling.planning.plan_table import plan_tables


def printed(plan: Plan) -> str:
    """Its tables and notes at 100 columns."""
    console = Console(width=100, record=True, file=io.StringIO())
    for table in plan_tables(plan):
        console.print(table)
    for note in plan_notes(plan):
        console.print(note, markup=False)
    return console.export_text()
