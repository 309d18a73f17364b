"""Which fault a drill plays where."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scaling.processes.assignment import Assignment
from scaling.processes.drilled_faults import HANG, KILL, NOT_A_NUMBER, OUT_OF_MEMORY, STEPS, fault_of
from scaling.train import played_faults
from scaling.train.faults import is_out_of_memory
from scaling.train.played_faults import OnceDue, faults_of
from scaling.train.preemption import Preemption


@pytest.fixture
def assignment(assignment_of: Callable[[int, int], Assignment]) -> Assignment:
    return assignment_of(1, 2)


class Towers(nn.Module):
    """An objective with nothing but an image tower."""

    def __init__(self) -> None:
        super().__init__()
        self.image_tower = nn.Identity()


def faults_on(assignment: Assignment, objective: Any = None) -> played_faults.Faults:
    return faults_of(assignment, objective or Towers(), Preemption(lambda reason: None))


def test_a_fault_is_played_on_its_seed_in_the_first_attempt() -> None:
    drill = f"{KILL}@3,{HANG}@4"
    assert [fault_of(drill, seed=seed, attempt=1) for seed in (2, 3, 4)] == ["", KILL, HANG]
    assert fault_of(drill, seed=3, attempt=2) == ""
    assert fault_of("", seed=0, attempt=1) == ""


def test_memory_runs_out_in_every_attempt() -> None:
    assert fault_of(f"{OUT_OF_MEMORY}@0", seed=0, attempt=7) == OUT_OF_MEMORY


@pytest.mark.parametrize("drill", ["flood@1", "kill", "kill@", "kill@one"])
def test_a_drill_that_is_none_is_refused_with_those_there_are(drill: str) -> None:
    with pytest.raises(ValueError, match="FAULT@SEED with one of oom, "):
        fault_of(drill, seed=0, attempt=1)


def test_a_real_run_plays_no_faults_and_an_unknown_one_is_refused(assignment: Assignment) -> None:
    for step in range(20):
        faults_on(assignment).before_step(step)
    with pytest.raises(ValueError, match="drill.*'flood'"):
        faults_on(dataclasses.replace(assignment, drill="flood"))


def test_faults_of_one_rank_are_played_on_the_last(assignment: Assignment) -> None:
    drilled = dataclasses.replace(assignment, drill=KILL)
    assert isinstance(faults_on(drilled), OnceDue)
    first = dataclasses.replace(drilled, rank=dataclasses.replace(drilled.rank, rank=0))
    assert not isinstance(faults_on(first), OnceDue)


def test_a_fault_waits_for_the_checkpoint_before_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(played_faults, "WAIT_SECONDS", 0.2)
    played: list[int] = []
    faults = OnceDue(KILL, tmp_path, lambda: played.append(1))
    for step in (0, STEPS[KILL] - 1, STEPS[KILL] + 1):
        faults.before_step(step)
    with pytest.raises(TimeoutError):
        faults.before_step(STEPS[KILL])
    assert not played
    (tmp_path / "checkpoints" / "step-000000005").mkdir(parents=True)
    faults.before_step(STEPS[KILL])
    assert played


def test_the_features_of_one_step_are_not_numbers(assignment: Assignment) -> None:
    towers, images = Towers(), torch.ones(2, 3)
    faults = faults_on(dataclasses.replace(assignment, drill=NOT_A_NUMBER), towers)
    spoiled = []
    for step in range(20):
        faults.before_step(step)
        if towers.image_tower(images).isnan().all():
            spoiled.append(step)
    assert spoiled == [STEPS[NOT_A_NUMBER]]


def test_memory_runs_out_for_real_and_only_at_the_points_own_micro_batch(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Point:
        placement = type("Placement", (), {"micro_batch": 16})

        @classmethod
        def model_validate_json(cls, text: str) -> Any:
            return cls

    monkeypatch.setattr(played_faults, "RunPoint", Point)
    (tmp_path / "checkpoints" / "step-000000005").mkdir(parents=True)
    full = dataclasses.replace(assignment, drill=OUT_OF_MEMORY)
    with pytest.raises(RuntimeError) as told:
        faults_on(full).before_step(STEPS[OUT_OF_MEMORY])
    assert is_out_of_memory(told.value)
    faults_on(dataclasses.replace(full, micro_batch=8)).before_step(STEPS[OUT_OF_MEMORY])
