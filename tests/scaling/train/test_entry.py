"""A real child of a real fork server, before it trains: which signals it takes, and how."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import json, os, sys, time
from pathlib import Path
from scaling.processes.assignment import Assignment
from scaling.launching.children import Child, start_server
from scaling.processes.ranks import Rank

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    rank = Rank(rank=0, num_ranks=2, local_rank=0, local_num_ranks=1, master_address="127.0.0.1", master_port=29500)
    told = Assignment(point="", planned="", run_folder=folder, rank=rank, port=int(sys.argv[2]), scratch=folder,
                      accelerator="cpu", num_threads=1, attempt=1, lease_token=1, micro_batch=16)
    start_server(told.environment())
    child = Child(told, WAITS)
    print(child.pid, flush=True)
    while (outcome := child.poll()) is None:
        time.sleep(0.05)
    print(json.dumps([outcome.state, outcome.reason, child._process.exitcode]), flush=True)
"""

WAITS = """
def WAITS(assignment):
    import scaling.train.child
    import scaling.train.entry as entry

    def wait_for_the_others(assignment, preemption):
        import datetime, torch.distributed as dist
        print("waiting", flush=True)
        dist.TCPStore("127.0.0.1", 0, world_size=2, is_master=True, timeout=datetime.timedelta(seconds=100))

    scaling.train.child.run_assignment = wait_for_the_others
    entry.run_child(assignment)
"""


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """The process of a child that waits for another rank, and its parent."""
    program = tmp_path / "program.py"
    program.write_text(WAITS + PROGRAM)
    parent = subprocess.Popen(
        [sys.executable, program, tmp_path, "4003"], env=dict(os.environ), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    log = tmp_path / "log-rank0.txt"
    deadline = time.monotonic() + 60
    while not (log.exists() and "waiting" in log.read_text()):
        assert time.monotonic() < deadline, "the child does not begin"
        time.sleep(0.05)
    yield child, parent
    parent.kill()
    parent.wait()


def test_a_child_that_waits_for_others_shows_its_stacks_ignores_ctrl_c_and_ends_as_preempted(
    waiting: tuple[int, "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    child, parent = waiting
    os.kill(child, signal.SIGQUIT)
    os.kill(child, signal.SIGINT)
    time.sleep(0.5)
    log = (tmp_path / "log-rank0.txt").read_text()
    assert "wait_for_the_others" in log and log.count("(most recent call first)") >= 3, log
    os.kill(child, signal.SIGTERM)
    assert parent.stdout is not None
    state, reason, code = json.loads(parent.stdout.readline())
    assert (state, code) == ("preempted", 75) and "SIGTERM received while not training" in reason
