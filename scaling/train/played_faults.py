"""Faults that a drill (scaling.drill) plays inside the children of a run; a real run has none."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scaling.checkpoints.names import folder_name
from scaling.points import RunPoint
from scaling.processes import drilled_faults as names
from scaling.processes.assignment import Assignment
from scaling.train.preemption import Preemption

WAIT_SECONDS = 300.0  # for a checkpoint to be in force, or for a held run to be let go
POLL_SECONDS = 0.05


class Faults:
    """The faults of a run; this one, of a real run, plays none."""

    def before_step(self, step: int) -> None:
        """Called before each step that is trained on (not one that is left out); `step` counts from 0."""


class OnceDue(Faults):
    """Calls `play` before the step at which a fault is due, when the checkpoint before that is in force."""

    def __init__(self, fault: str, run_folder: Path, play: Callable[[], None]) -> None:
        self._step = names.STEPS[fault]
        saved_step = self._step // names.CHECKPOINT_STEPS * names.CHECKPOINT_STEPS
        self._checkpoint = run_folder / "checkpoints" / folder_name(saved_step)
        self._play = play

    def before_step(self, step: int) -> None:
        if step == self._step:
            _wait_until(self._checkpoint.exists)
            self._play()


class SpoiledBatch(Faults):
    """The features of one step's images are not numbers."""

    def __init__(self, objective: Any) -> None:
        self._is_on = False
        objective.image_tower.register_forward_hook(self._spoil)

    def before_step(self, step: int) -> None:
        self._is_on = step == names.STEPS[names.NOT_A_NUMBER]

    def _spoil(self, module: object, inputs: object, features: torch.Tensor) -> torch.Tensor:
        return features * torch.nan if self._is_on else features


def faults_of(assignment: Assignment, objective: Any, preemption: Preemption) -> Faults:
    """The faults to play in this attempt, on this rank; ValueError for one that does not exist."""
    fault, rank, run = assignment.drill, assignment.rank, assignment.run_folder
    plays: dict[str, Callable[[], None]] = {
        names.OUT_OF_MEMORY: lambda: _run_out_of_memory(assignment),
        names.KILL: _kill_this_process,
        names.KILL_LATE: _kill_this_process,
        names.HANG: _hang,
        names.FULL_DISK: _limit_files,
        names.HOLD: lambda: _hold(run, preemption),
    }
    if fault and fault not in (*plays, names.NOT_A_NUMBER):
        raise ValueError(f"drill: there is no fault called {fault!r}.")
    is_on_every_rank = fault in (names.FULL_DISK, names.HOLD)
    if not fault or not (is_on_every_rank or rank.rank == rank.num_ranks - 1):
        return Faults()
    if fault == names.NOT_A_NUMBER:
        return SpoiledBatch(objective)
    return OnceDue(fault, run, plays[fault])


def _run_out_of_memory(assignment: Assignment) -> None:
    """Ask for a pebibyte, as long as the micro-batch is the point's own."""
    if assignment.micro_batch == RunPoint.model_validate_json(assignment.point).placement.micro_batch:
        torch.empty(2**50, dtype=torch.uint8, device="cuda" if assignment.accelerator == "cuda" else "cpu")


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    while True:
        time.sleep(1.0)


def _limit_files() -> None:
    """Let the system refuse (EFBIG; Python ignores SIGXFSZ) to write files as large as a checkpoint's."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (names.FILE_BYTES, resource.RLIM_INFINITY))


def _hold(run: Path, preemption: Preemption) -> None:
    """Say so and wait, until this process was told to stop or the drill lets the run go."""
    (run / names.HELD).touch()
    _wait_until(lambda: preemption.is_asked or (run / names.GO).exists())


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"a drill waited {WAIT_SECONDS:.0f} s in vain")
        time.sleep(POLL_SECONDS)
