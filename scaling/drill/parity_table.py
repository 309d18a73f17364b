"""The verdicts of the parity certificate: how close each run is to plain torch, and whether that is close enough."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from scaling.checkpoints.names import folder_name
from scaling.checkpoints.reading import Checkpoint
from scaling.drill.comparison import (
    RELATIVE,
    RELATIVE_OF_NORMS,
    difference_of_counts,
    difference_of_samples,
    trained_rows,
)
from scaling.drill.parity_cases import CUT_STEP, KILLED_AFTER, REFERENCE, TOLD, Case, Told
from scaling.processes.drilled_faults import NUM_STEPS
from scaling.records import RunDirectory


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How a case compares with plain torch, and a resumed one with its own fresh run."""

    losses: float  # largest relative difference over the steps; inf where steps are missing
    norms: float  # likewise, of gradient norms before clipping
    equal: dict[str, bool]  # what must be the same: "samples", "counts", "steps", "start", "bits"

    @property
    def is_passed(self) -> bool:
        return self.losses <= RELATIVE and self.norms <= RELATIVE_OF_NORMS and all(self.equal.values())


class Certificate:
    """Verdicts on cases, whose runs are in the folders that `folder_of` tells."""

    def __init__(self, folder_of: Callable[[Case], Path], *, is_exact: bool) -> None:
        """`is_exact`: whether a resumed run must be the same bit by bit, as on CPUs."""
        self._folder_of = folder_of
        self._is_exact = is_exact

    def is_passed(self, cases: Sequence[Case]) -> bool:
        return all(self.verdict(case).is_passed for case in cases)

    def table(self, cases: Sequence[Case], notes: Sequence[str]) -> Table:
        """A row for each case."""
        table = Table(title="parity with plain torch over 20 steps in float32")
        for column in ("objective", "engine", "run", "losses", "norms", "equal", "result"):
            table.add_column(column, overflow="fold")
        for case in cases:
            verdict = self.verdict(case)
            unequal = [f"[red]not {name}[/]" for name, holds in verdict.equal.items() if not holds]
            equal = ", ".join(unequal or verdict.equal)
            result = "[green]pass[/]" if verdict.is_passed else "[red]FAIL[/]"
            differences = (f"{value:.1e}" if value else "0" for value in (verdict.losses, verdict.norms))
            table.add_row(case.objective, case.layout.name, _told(case), *differences, equal, result)
        passed = sum(self.verdict(case).is_passed for case in cases)
        table.caption = (
            f"{passed} of {len(cases)} passed; largest relative differences, at most {RELATIVE:g} of losses and "
            f"{RELATIVE_OF_NORMS:g} of gradient norms; {'; '.join(notes)}"
        )
        return table

    def verdict(self, case: Case) -> Verdict:
        """The verdict on one case."""
        run = RunDirectory(self._folder_of(case))
        plain = dataclasses.replace(case, layout=REFERENCE, writer=REFERENCE, mode="fresh")
        reference = RunDirectory(self._folder_of(plain))
        told = _read(run)
        equal = {
            "samples": not difference_of_samples(run, reference),
            "counts": not difference_of_counts(run, reference),
            "steps": told.optimizer_steps == NUM_STEPS,
            "start": told.state_at_start == self._expected_start(case, reference),
        }
        if case.mode == "resumed" and self._is_exact:
            own = RunDirectory(self._folder_of(dataclasses.replace(case, mode="fresh")))
            equal["bits"] = _values(run, "loss", "gradient_norm") == _values(own, "loss", "gradient_norm")
        return Verdict(
            losses=_largest_difference(run, reference, "loss"),
            norms=_largest_difference(run, reference, "gradient_norm"),
            equal=equal,
        )

    def _expected_start(self, case: Case, reference: RunDirectory) -> dict[str, int]:
        """The hash of the state that a run starts from: plain torch's, or that of the checkpoint it continues."""
        if case.mode == "fresh":
            return _read(reference).state_at_start
        writer = dataclasses.replace(case, layout=case.writer, mode="fresh")
        folder = RunDirectory(self._folder_of(writer)).checkpoints / folder_name(CUT_STEP)
        return Checkpoint.open(folder).header.state_hash


def _told(case: Case) -> str:
    if case.mode == "taken over":
        return f"taken over at step {CUT_STEP} from {case.writer.name}"
    return "fresh" if case.mode == "fresh" else f"cut after step {KILLED_AFTER}, resumed at step {CUT_STEP}"


def _read(run: RunDirectory) -> Told:
    return Told.model_validate_json((run.path / TOLD).read_text())


def _values(run: RunDirectory, *keys: str) -> list[tuple[float, ...]]:
    return [tuple(row[key] for key in ("step", *keys)) for row in trained_rows(run)]


def _largest_difference(run: RunDirectory, reference: RunDirectory, key: str) -> float:
    found, expected = dict(_pairs(run, key)), dict(_pairs(reference, key))
    if found.keys() != expected.keys() or len(found) != NUM_STEPS:
        return float("inf")
    return max(abs(found[step] - value) / abs(value) for step, value in expected.items())


def _pairs(run: RunDirectory, key: str) -> list[tuple[int, float]]:
    return [(row["step"], row[key]) for row in trained_rows(run)]
