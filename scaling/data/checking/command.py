"""What `scaling data check` prints: a table for each set, every damage, and whether all is well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from scaling.data.checking.check import NUM_EXAMPLES, SetReport, check_set, find_sets
from scaling.data.checking.contact_sheet import write_contact_sheet


def check(
    folder: Path,
    *,
    decode: float,
    examples: Path | None,
    workers: int,
    console: Console,
    progress: bool = True,
) -> bool:
    """Whether all sets at or below a folder are whole; what was found is printed."""
    reports = []
    for found in find_sets(folder):
        num_examples = NUM_EXAMPLES if examples is not None else 0
        reports.append(
            check_set(found, decode=decode, num_examples=num_examples, workers=workers, progress=progress)
        )
        _print(reports[-1], console)
    if examples is not None:
        shown = [example for report in reports for example in report.examples]
        write_contact_sheet(examples, shown)
        console.print(f"{examples}: {len(shown)} examples", soft_wrap=True)
    return not any(report.damages for report in reports)


def _print(report: SetReport, console: Console) -> None:
    console.print(
        f"{report.folder}: {report.num_samples:,} samples in {report.num_shards:,} shards, {report.num_bytes:,} bytes",
        soft_wrap=True,
        markup=False,
    )
    console.print(_table(report))
    for remark in report.remarks:
        console.print(f"not verified: {remark}", soft_wrap=True, markup=False)
    for damage in report.damages:
        console.print(f"damage: {damage}", soft_wrap=True, markup=False)


def _table(report: SetReport) -> Table:
    table = Table(show_header=False)
    for row in _rows(report):
        table.add_row(*row)
    return table


def _rows(report: SetReport) -> list[tuple[str, str]]:
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in report.rejects.items())
    return [
        ("damages", f"{len(report.damages):,}"),
        ("shards whose hashes were compared", f"{report.num_hashed:,} of {report.num_shards:,}"),
        ("images decoded", f"{len(report.sizes):,} of {report.num_samples:,}"),
        ("shorter side, pixels", _spread([min(size) for size in report.sizes])),
        ("longer side, pixels", _spread([max(size) for size in report.sizes])),
        ("captions, letters", _spread(report.caption_lengths)),
        ("left out by the conversion", left_out or "none"),
    ]


def _spread(values: list[int]) -> str:
    if not values:
        return "not read"
    return f"{min(values):,} to {max(values):,}, median {int(np.median(values)):,}"
