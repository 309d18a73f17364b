"""The parity certificate has every engine, fresh and continued, and fails for whatever is not alike."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scaling.checkpoints.reading import Checkpoint
from scaling.drill import parity_table
from scaling.drill.parity_cases import (
    LAYOUTS,
    REFERENCE,
    TOLD,
    Case,
    Layout,
    Told,
    cases_of,
)
from scaling.drill.parity_table import Certificate
from scaling.records import RunDirectory, append_lines

STEPS = 20
START = {"weight": 3}


def write_run(folder: Path, *, factor: float = 1.0, first_hash: str = "a", **told: Any) -> None:
    """A run of 20 steps."""
    run = RunDirectory(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in (run.metrics, run.samples):
        path.unlink(missing_ok=True)
    rows = [{"step": n + 1, "loss": (9 - n / 10) * factor, "gradient_norm": 2.0} for n in range(STEPS)]
    append_lines(run.metrics, rows)
    append_lines(run.samples, [{"step": n, "ids_hash": first_hash if n == 0 else "b"} for n in range(STEPS)])
    fields: dict[str, Any] = {"state_at_start": START, "optimizer_steps": STEPS, **told}
    (folder / TOLD).write_text(Told(**fields).model_dump_json())


@pytest.fixture
def cases() -> list[Case]:
    return [case for case in cases_of(LAYOUTS) if case.objective == "clip"]


@pytest.fixture
def certificate(tmp_path: Path, cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """All of whose runs are alike."""
    counts: Callable[..., str] = lambda run, reference: ""
    header = types.SimpleNamespace(header=types.SimpleNamespace(state_hash=START))
    monkeypatch.setattr(parity_table, "difference_of_counts", counts)
    monkeypatch.setattr(Checkpoint, "open", lambda folder: header)
    for case in cases:
        write_run(tmp_path / case.key)
    return Certificate(lambda case: tmp_path / case.key, is_exact=True)


def case_of(cases: list[Case], engine: str, mode: str) -> Case:
    return next(
        case for case in cases if (case.layout.engine, case.layout.num_ranks, case.mode) == (engine, 2, mode)
    )


def test_every_engine_on_one_and_two_ranks_is_tried_fresh_and_continued() -> None:
    cases = cases_of(LAYOUTS)
    tried = {(case.objective, case.layout.name, case.mode) for case in cases}
    engines = [f"deepspeed ZeRO {stage}" for stage in (1, 2, 3)] + ["fsdp"]
    names = ["plain, 1 rank", *(f"{name}, {ranks}" for name in engines for ranks in ("1 rank", "2 ranks"))]
    modes = ("fresh", "resumed", "taken over")
    expected = {
        (objective, name, mode) for objective in ("superclass", "clip") for name in names for mode in modes
    }
    assert tried == expected and len(cases) == len(expected) == 54


def test_what_is_taken_over_was_written_on_another_number_of_ranks() -> None:
    cases = cases_of(LAYOUTS)
    for case in cases:
        other_ranks = case.writer.num_ranks != case.layout.num_ranks
        assert other_ranks if case.mode == "taken over" else case.writer == case.layout
    written = {case.writer for case in cases if case.mode == "taken over"}
    assert {layout.engine for layout in written} == {"plain", "deepspeed", "fsdp"}


def test_where_one_rank_is_all_there_is_another_engine_or_stage_is_taken_over_from() -> None:
    layouts = [layout for layout in LAYOUTS if layout.num_ranks == 1]
    assert all(case.writer != case.layout for case in cases_of(layouts) if case.mode == "taken over")


def test_runs_that_are_alike_pass(certificate: Certificate, cases: list[Case]) -> None:
    assert certificate.is_passed(cases)


@pytest.mark.parametrize(
    "change",
    [
        {"factor": 1 + 2e-5},
        {"first_hash": "c"},
        {"optimizer_steps": STEPS + 1},
        {"state_at_start": {"weight": 4}},
    ],
)
def test_what_is_not_alike_fails(
    certificate: Certificate, cases: list[Case], tmp_path: Path, change: dict[str, Any]
) -> None:
    for mode in ("fresh", "taken over"):
        case = case_of(cases, "fsdp", mode)
        write_run(tmp_path / case.key, **change)
        assert not certificate.verdict(case).is_passed
        assert not certificate.is_passed(cases)
        write_run(tmp_path / case.key)


def test_other_label_counts_fail(
    certificate: Certificate, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity_table, "difference_of_counts", lambda run, reference: "counts_V differ")
    assert not certificate.verdict(case_of(cases, "fsdp", "fresh")).is_passed


def test_a_missing_step_fails(certificate: Certificate, cases: list[Case], tmp_path: Path) -> None:
    case = case_of(cases, "deepspeed", "fresh")
    metrics = RunDirectory(tmp_path / case.key).metrics
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    assert not certificate.verdict(case).is_passed


def test_resumed_on_the_same_ranks_the_last_bit_counts(
    certificate: Certificate, cases: list[Case], tmp_path: Path
) -> None:
    resumed, taken_over = (case_of(cases, "fsdp", mode) for mode in ("resumed", "taken over"))
    for case in (resumed, taken_over):
        write_run(tmp_path / case.key, factor=1 + 1e-9)
    assert not certificate.verdict(resumed).is_passed
    assert certificate.verdict(taken_over).is_passed
    inexact = Certificate(lambda case: tmp_path / case.key, is_exact=False)
    assert inexact.verdict(resumed).is_passed, "on a GPU, sums may be taken in any order"


def test_the_table_names_what_failed(certificate: Certificate, cases: list[Case], tmp_path: Path) -> None:
    write_run(tmp_path / case_of(cases, "fsdp", "fresh").key, optimizer_steps=STEPS + 1)
    console = Console(width=200, record=True)
    console.print(certificate.table(cases, ["left behind: nothing"]))
    told = console.export_text()
    (row,) = [line for line in told.splitlines() if "FAIL" in line]
    assert "fsdp, 2 ranks" in row and "not steps" in row
    assert "26 of 27 passed" in told and "left behind: nothing" in told


def test_the_reference_is_plain_torch_on_one_rank() -> None:
    assert REFERENCE == Layout(engine="plain", zero_stage=0, num_ranks=1)
    assert dataclasses.replace(REFERENCE) in LAYOUTS
