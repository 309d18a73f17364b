"""Activation checkpointing under DeepSpeed's ZeRO-3, which gathers weights in hooks and replaces the linear layer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from zero3_recomputing_run import MODES, TOWERS

from scaling.launching.agreement import free_port
from scaling.processes.residue import remove_allreduce_buffers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> dict[str, list[list[float]]]:
    """Losses and gradient norms by tower and mode, from a process of its own: DeepSpeed keeps global state."""
    port = free_port()
    paths = [Path(sys.executable).parent, os.environ["PATH"]]  # of ninja, which builds DeepSpeed's operations
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("zero3_recomputing_run.py")), str(port)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": os.pathsep.join(map(str, paths))},
    )
    remove_allreduce_buffers(port)
    assert done.returncode == 0, done.stderr[-3000:]
    losses: dict[str, list[list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return losses


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("tower", TOWERS)
def test_recomputed_activations_train_bit_for_bit_alike(
    found: dict[str, list[list[float]]], tower: str, mode: str
) -> None:
    assert found[f"{tower} {mode}"] == found[f"{tower} none"]
