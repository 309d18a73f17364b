"""Real children from a real fork server: what they are told, what they leave, how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from living_processes import is_running

from scaling.processes.residue import remove_allreduce_buffers

PROGRAM = """
import json, os, sys, time
from pathlib import Path
from scaling.processes.assignment import Assignment
from scaling.launching.children import Child, start_server
from scaling.processes.ranks import Rank

def assignment(port, scratch):
    scratch = Path(scratch); scratch.mkdir(exist_ok=True)
    run = Path(sys.argv[1]) / f"run-{port}"; run.mkdir()
    if len(sys.argv) > 2:
        os.mkfifo(run / "log-rank0.txt")  # opening a pipe that nobody reads keeps the child waiting
    rank = Rank(rank=0, num_ranks=1, local_rank=0, local_num_ranks=1, master_address="127.0.0.1", master_port=29500)
    return Assignment(point="not a point", planned="", run_folder=run, rank=rank, port=port, scratch=scratch,
                      accelerator="cpu", num_threads=1, attempt=1, lease_token=1, micro_batch=1)

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
        remove_allreduce_buffers(port)
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
    assert is_running(child), "it waits, and would for ever"
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while is_running(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.1)


PLAYS = """
import faulthandler, json, os, signal, sys, time
from pathlib import Path
from scaling.launching import children
from scaling.processes.assignment import Assignment, Outcome, report_outcome
from scaling.launching.children import Child, start_server
from scaling.processes.ranks import Rank

def preempted(told):
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    print("ready", flush=True)
    while not asked:
        time.sleep(0.01)
    time.sleep(1)  # its last checkpoint
    report_outcome(told.scratch, 0, Outcome(state="preempted"))
    os._exit(75)

def family(told):
    if os.fork() == 0:
        time.sleep(600)
    print("ready", flush=True)
    time.sleep(600)

def hung(told):
    print("ready", flush=True)
    import ctypes
    ctypes.PyDLL(None).sleep(600)  # holds Python's lock

def stuck(told):
    stacks = open(told.scratch / "stacks", "w")
    faulthandler.register(signal.SIGQUIT, file=stacks)
    print("ready", flush=True)
    import ctypes
    ctypes.PyDLL(None).sleep(600)

if __name__ == "__main__":
    scratch = Path(sys.argv[1])
    rank = Rank(rank=0, num_ranks=1, local_rank=0, local_num_ranks=1, master_address="127.0.0.1", master_port=1)
    told = Assignment(point="", planned="", run_folder=scratch, rank=rank, port=1, scratch=scratch, accelerator="cpu",
                      num_threads=1, attempt=1, lease_token=1, micro_batch=1)
    children.CHILD_MODULE = "json"  # nothing heavy
    start_server(told.environment())
    child = Child(told, run=globals()[sys.argv[2]])
    print("child", child.pid, flush=True)
    for line in sys.stdin:
        outcome = getattr(child, line.strip())()
        print(json.dumps(outcome and [outcome.state, outcome.reason]), flush=True)
"""


class Play:
    """A parent with one child, which plays a part; the test speaks for the parent."""

    def __init__(self, folder: Path, part: str) -> None:
        program = folder / "plays.py"
        program.write_text(PLAYS)
        command = [sys.executable, str(program), str(folder), part]
        pipe = subprocess.PIPE
        self.parent = subprocess.Popen(command, env=_environment(), stdin=pipe, stdout=pipe, text=True)
        lines = sorted(self._line() for _ in range(2))
        self.child = int(lines[0].split()[1])
        assert lines[1] == "ready\n"

    def _line(self) -> str:
        assert self.parent.stdout is not None
        return self.parent.stdout.readline()

    def ask(self, method: str) -> list[str] | None:
        assert self.parent.stdin is not None
        print(method, file=self.parent.stdin, flush=True)
        answer: list[str] | None = json.loads(self._line())
        return answer

    @property
    def server(self) -> int:
        return int(Path(f"/proc/{self.child}/stat").read_text().rpartition(")")[2].split()[1])

    def end(self) -> None:
        assert self.parent.stdin is not None
        self.parent.stdin.close()
        self.parent.wait(30)


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_request_to_stop_to_every_process_of_a_job_still_ends_in_a_checkpoint(tmp_path: Path) -> None:
    """DeepSpeed's launcher and Slurm signal the whole tree; the fork server must live on to report the child's end."""
    play = Play(tmp_path, "preempted")
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(play.server, number)
    assert play.ask("poll") is None
    os.kill(play.child, signal.SIGTERM)
    play.ask("preempt")
    assert play.ask("poll") is None, "it writes its checkpoint"
    _wait_until(lambda: play.ask("poll") == ["preempted", ""])
    play.end()


@pytest.mark.slow
def test_a_stopped_child_takes_with_it_what_it_started(tmp_path: Path) -> None:
    """Loader workers, for one; they would hold memory and open files."""
    play = Play(tmp_path, "family")
    (grandchild,) = map(int, Path(f"/proc/{play.child}/task/{play.child}/children").read_text().split())
    assert play.ask("stop") == ["stopped", "stopped with the other ranks"]
    _wait_until(lambda: not is_running(grandchild))
    play.end()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["parent", "server"])
def test_a_child_that_hangs_inside_a_library_call_does_not_outlive_its_parent_or_server(
    victim: str, tmp_path: Path
) -> None:
    """No thread of it can run, so that it cannot end itself."""
    play = Play(tmp_path, "hung")
    os.kill({"parent": play.parent.pid, "server": play.server}[victim], signal.SIGKILL)
    _wait_until(lambda: not is_running(play.child))
    if victim == "server":
        assert play.ask("poll") == ["killed", "rank 0 lost its fork server"]
        play.end()
    play.parent.wait(30)


@pytest.mark.slow
def test_the_stacks_of_a_hung_child_can_be_read_and_it_lives_until_it_is_killed(tmp_path: Path) -> None:
    play = Play(tmp_path, "stuck")
    os.kill(play.child, signal.SIGSTOP)
    play.ask("dump_stacks")
    _wait_until(lambda: "in stuck" in (tmp_path / "stacks").read_text())
    assert play.ask("poll") is None
    assert play.ask("stop") == ["stopped", "stopped with the other ranks"]
    play.end()


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
