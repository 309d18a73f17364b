from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.points import resolve_points
from scaling.processes.assignment import Assignment
from scaling.spec import load_sweep
from scaling.train.parts_assembly import point_of

SWEEP = Path(__file__).resolve().parents[3] / "sweeps" / "smoke.yaml"


def test_a_child_trains_with_the_micro_batch_of_its_assignment_and_nothing_else_changes(
    assignment_of: Callable[[int, int], Assignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After running out of memory its parent assigns a smaller one than the point's."""
    monkeypatch.setenv("SMOKE_DATA", "/nowhere")
    point = resolve_points(load_sweep(SWEEP, ()), num_ranks=1, require_data=False)[0]
    half = point.placement.micro_batch // 2
    assignment = dataclasses.replace(assignment_of(0, 1), point=point.model_dump_json(), micro_batch=half)
    trained = point_of(assignment)
    assert trained.placement.micro_batch == point.placement.micro_batch // 2
    placement = trained.placement.model_copy(update={"micro_batch": point.placement.micro_batch})
    assert trained.model_copy(update={"placement": placement}) == point
