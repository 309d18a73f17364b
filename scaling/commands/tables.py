"""Tables for the terminal: how far a sweep is, and what a conversion made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from scaling.data.manifest import Manifest
from scaling.processes.lease import EXPIRES_SECONDS
from scaling.records import RunDirectory, Status, run_directories
from scaling.units import format_quantity

_COLOURS = {"done": "green", "running": "cyan", "trained": "cyan", "queued": "dim"}


def status_table(folder: Path, planned: list[str]) -> Table:
    """The state of every run of a sweep; `planned` are the ids of all, also of those without a directory yet."""
    found = {run.path.name: run for run in run_directories(folder)}
    table = Table(title=str(folder))
    for column in ("run", "state", "samples seen", "samples/s", "left", "attempts", "note"):
        table.add_column(column, overflow="fold")
    counts: dict[str, int] = {}
    for run_id in [*planned, *sorted(found.keys() - set(planned))]:
        state, cells = _standing(found.get(run_id))
        counts[state] = counts.get(state, 0) + 1
        table.add_row(run_id, f"[{_COLOURS.get(state, 'red')}]{state}[/]", *cells)
    table.caption = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    return table


def _standing(run: RunDirectory | None) -> tuple[str, tuple[str, ...]]:
    if run is None:
        return "queued", ("", "", "", "", "")
    try:
        status, record = run.read_status(), run.read_record()
    except ValueError as error:
        return "damaged", ("", "", "", "", str(error))
    state = "done" if record is not None else status.state
    note = status.reason if state != "done" else ""
    if state == "running" and time.time() - status.updated_at > 10 * EXPIRES_SECONDS:
        note = "no word for ten minutes; run the same command again to continue"
    return state, (*_progress(status, state), str(status.attempts), note)


def _progress(status: Status, state: str) -> tuple[str, str, str]:
    """Samples seen, samples per second, time left."""
    if not status.samples_total:
        return "", "", ""
    seen = f"{format_quantity(status.samples_seen)} of {format_quantity(status.samples_total)}"
    if state != "running" or status.samples_per_second <= 0:
        return seen, "", ""
    seconds = (status.samples_total - status.samples_seen) / status.samples_per_second
    return seen, f"{status.samples_per_second:,.0f}", _duration(seconds)


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def manifest_table(destination: Path, manifest: Manifest) -> Table:
    """What a conversion wrote and what it left out, by reason."""
    table = Table(title=str(destination))
    for column in ("set", "samples", "rejected"):
        table.add_column(column)
    for name, written in manifest.sets.items():
        table.add_row(str(name), f"{written.num_samples:,}", _rejects(written.rejects))
    return table


def _rejects(rejects: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in rejects.items() if count) or "none"
