"""The result of a drill: what was expected, and how much of it was seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.table import Table


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A row of the table of drills."""

    drill: str
    done: str
    expected: str
    seen: tuple[str, ...]  # of what was expected
    missed: tuple[str, ...]  # of what was expected

    @property
    def is_passed(self) -> bool:
        return not self.missed


class Witness:
    """Collects which expectations were met."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._missed: list[str] = []

    def expect(self, holds: bool, told: str, otherwise: object = "") -> None:
        """Note the expectation `told` as seen or missed; `otherwise` says what was there instead."""
        if holds:
            self._seen.append(told)
        else:
            self._missed.append(f"{told}{f' (instead: {otherwise})' if str(otherwise) else ''}")

    def no_difference(self, difference: str, told: str) -> None:
        """Note `told` as seen if a comparison found nothing."""
        self.expect(not difference, told, difference)

    def finding(self, drill: str, done: str, expected: str) -> Finding:
        """Everything noted, as a row of the table."""
        seen, missed = tuple(self._seen), tuple(self._missed)
        return Finding(drill=drill, done=done, expected=expected, seen=seen, missed=missed)


def table_of(findings: Sequence[Finding], title: str) -> Table:
    """The findings as a table; what was missed stands in the column of what was seen."""
    table = Table(title=title, show_lines=True)
    for column in ("drill", "done", "expected", "seen", "result"):
        table.add_column(column, overflow="fold", no_wrap=column in ("drill", "result"))
    for finding in findings:
        missed = [f"[red]MISSED: {told}[/]" for told in map(_escaped, finding.missed)]
        seen = "; ".join([*map(_escaped, finding.seen), *missed])
        result = "[green]pass[/]" if finding.is_passed else "[red]FAIL[/]"
        table.add_row(finding.drill, finding.done, finding.expected, seen, result)
    passed = sum(finding.is_passed for finding in findings)
    table.caption = f"{passed} of {len(findings)} passed"
    return table


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
