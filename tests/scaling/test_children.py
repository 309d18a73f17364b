"""Real children from a real fork server: what they are told, what they leave, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import json, os, sys, time
from pathlib import Path
from scaling.assignment import Assignment
from scaling.children import Child, start_server
from scaling.ranks import Rank

def assignment(port, scratch):
    scratch = Path(scratch); scratch.mkdir(exist_ok=True)
    run = Path(sys.argv[1]) / f"run-{port}"; run.mkdir()
    if len(sys.argv) > 2:
        os.mkfifo(run / "log-rank0.txt")  # opening a pipe that nobody reads keeps the child waiting
    rank = Rank(rank=0, num_ranks=1, local_rank=0, local_num_ranks=1, master_address="127.0.0.1", master_port=29500)
    return Assignment(point="not a point", planned="", run_folder=run, rank=rank, port=port, scratch=scratch,
                      accelerator="cpu", num_threads=1, attempt=1, lease_token=1)

if __name__ == "__main__":
    os.environ.update(MASTER_PORT="29500", TMPDIR="/nowhere")
    for port in (4001, 4002):
        told = assignment(port, f"{sys.argv[1]}/scratch-{port}")
        start_server(told.environment())
        child = Child(told)
        print("child", child.pid, flush=True)
        if len(sys.argv) > 2:
            time.sleep(60)
        while (outcome := child.poll()) is None:
            time.sleep(0.05)
        print(json.dumps([outcome.state, outcome.reason]), flush=True)
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_child_is_told_everything_by_its_assignment_and_every_way_of_failing_is_a_typed_outcome(
    tmp_path: Path,
) -> None:
    """The fork server was started for port 4001; the second child must not inherit that."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program, tmp_path], env=_environment(), capture_output=True, text=True, timeout=120
    )
    assert done.stdout.count('["error", "ValidationError') == 2, done.stdout + done.stderr
    for port in (4001, 4002):
        log = (tmp_path / f"run-{port}" / "log-rank0.txt").read_text()
        assert f"MASTER_PORT={port} " in log and f"TMPDIR={tmp_path}/scratch-{port} " in log
        assert "LOCAL_WORLD_SIZE=1 " in log and "Traceback" in log


@pytest.mark.slow
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    parent = subprocess.Popen(
        [sys.executable, program, tmp_path, "wait"], env=_environment(), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline().split()[1])
    time.sleep(3)
    assert _is_running(child), "it waits, and would for ever"
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while _is_running(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.1)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


COUNTS_DEVICES = """
import torch
calls = []
torch._C._cuda_getDeviceCount = lambda: calls.append(1) or 0
import {module}
print(len(calls))
"""


@pytest.mark.slow
def test_preloading_counts_no_cuda_devices_so_that_children_can_use_them() -> None:
    """A fork after CUDA's device count cannot use CUDA; the second run shows that DeepSpeed alone does count."""
    counts = []
    for module, accelerator in (("scaling.train.child", {"DS_ACCELERATOR": "cuda"}), ("deepspeed", {})):
        environment = {name: value for name, value in _environment().items() if name != "DS_ACCELERATOR"}
        done = subprocess.run(
            [sys.executable, "-c", COUNTS_DEVICES.format(module=module)],
            env={**environment, **accelerator},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        counts.append(int(done.stdout.split()[-1]))
    assert counts[0] == 0 < counts[1]
