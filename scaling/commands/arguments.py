"""Arguments and output that commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

TABLE_WIDTH = 100  # columns that our tables need

SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP", help="sweep file, e.g. sweeps/quickstart.yaml")]
Settings = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="change the sweep file")]
Runs = Annotated[Path, typer.Option(help="where run directories are")]


def wide_console(*, stderr: bool = False) -> Console:
    """A console for tables: in a pipe or a narrow terminal lines may wrap, but no figure is cut off."""
    console = Console(stderr=stderr)
    console.width = max(console.width, TABLE_WIDTH)
    return console
