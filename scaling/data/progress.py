"""The progress bar of a long pass over data: how much is done, how fast, how long it will still take."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


def bar(unit: str, *, enabled: bool) -> Progress:
    """A progress bar on stderr that counts `unit`; its rate is computed from a task's field `samples`."""
    columns = TextColumn(unit), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), disable=not enabled)


class _Rate(ProgressColumn):
    """Samples per second, from the start."""

    def render(self, task: Task) -> Text:
        if not task.elapsed:
            return Text("")
        return Text(f"{task.fields.get('samples', task.completed) / task.elapsed:,.0f} samples/s")
