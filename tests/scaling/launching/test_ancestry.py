from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

RANK = """
import sys, time
from pathlib import Path
from scaling.launching.ancestry import Ancestry
ancestry = Ancestry()
assert not ancestry.is_broken()
Path(sys.argv[1]).write_text("started")
while not ancestry.is_broken():
    time.sleep(0.05)
Path(sys.argv[1]).write_text("noticed")
"""
NODE_LAUNCHER = "import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[2:]]).wait()"
RUNNER = "import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[1:]]).wait()"


@pytest.mark.parametrize("victim", ["runner", "node launcher"])
def test_a_rank_notices_when_a_launcher_above_it_dies(victim: str, tmp_path: Path) -> None:
    """The node launcher is known by its module's name, deepspeed.launcher.launch, in the command line."""
    note = tmp_path / "note"
    rank = ["-c", RANK, str(note)]
    node_launcher = ["-c", NODE_LAUNCHER, "deepspeed.launcher.launch", *rank]
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, *node_launcher])
    _wait_for(note, "started")
    children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children").read_text().split()
    pid = runner.pid if victim == "runner" else int(children[0])
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    _wait_for(note, "noticed")
    runner.kill()
    runner.wait()
    subprocess.run(["kill", "-KILL", *children], check=False, capture_output=True)


def _wait_for(note: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not note.exists() or note.read_text() != text:
        assert time.monotonic() < deadline, f"never {text}"
        time.sleep(0.05)
