"""Supervision of a launcher that is played by small programs: who is signalled, who is killed, what is believed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from living_processes import is_running

SUPERVISOR = """
import sys
from pathlib import Path
from scaling.launching import supervise
supervise.ENTRY = Path(sys.argv[1])
supervise.IMPATIENT_SECONDS = 2.0
raise SystemExit(supervise.run_launcher([sys.executable, "-c", sys.argv[2], *sys.argv[3:]]))
"""

LAUNCHER = """
import subprocess, sys
rank = subprocess.Popen([sys.executable, "-u", sys.argv[1], "--local_rank=0", "x.yaml"])
raise SystemExit(rank.wait())
"""

RANK = """
import os, signal, subprocess, sys, time
from pathlib import Path
note = Path(__file__).with_name("note")
def told(number, frame):
    print("rank got", signal.Signals(number).name, flush=True)
    if {obeys}:
        time.sleep(0.3)
        print("its worker", "lives" if worker.poll() is None else "is gone", flush=True)
        print("preempted, run the same command again to continue: 0 of 1 points done; runs in here", flush=True)
        os._exit(75)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, told)
command = "import time; time.sleep(600)"
worker = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.DEVNULL, process_group=0)
note.write_text(f"{{worker.pid}} {{os.getppid()}}")
while True:
    time.sleep(0.05)
"""


class Supervised:
    """A supervisor, its launcher, one rank and the rank's worker."""

    def __init__(self, folder: Path, *, obeys: bool) -> None:
        entry, note = folder / "launch", folder / "note"
        entry.write_text(RANK.format(obeys=obeys))
        command = [sys.executable, "-c", SUPERVISOR, str(entry), LAUNCHER, str(entry)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        _wait_until(lambda: note.exists() and len(note.read_text().split()) == 2)
        self.worker, self.launcher = map(int, note.read_text().split())

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_request_to_stop_reaches_the_ranks_alone_and_75_passes_through(
    number: signal.Signals, tmp_path: Path
) -> None:
    """The worker is left alone while the rank may need it, and killed in the end."""
    supervised = Supervised(tmp_path, obeys=True)
    supervised.process.send_signal(number)
    status, output = supervised.end()
    assert status == 75, output
    assert output.count("rank got") == 1 and f"rank got {number.name}" in output
    assert "its worker lives" in output
    assert not is_running(supervised.worker)


def test_the_word_of_the_ranks_counts_when_the_launcher_cannot_pass_their_exit_status_on(
    tmp_path: Path,
) -> None:
    supervised = Supervised(tmp_path, obeys=True)
    subprocess.run(["kill", "-KILL", str(supervised.launcher)], check=True)
    supervised.process.send_signal(signal.SIGTERM)
    status, output = supervised.end()
    assert status == 75, output


def test_ranks_that_do_not_obey_are_killed_after_a_second_interrupt(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, obeys=False)
    supervised.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    supervised.process.send_signal(signal.SIGINT)
    status, output = supervised.end()
    assert status == 137 and output.count("rank got SIGINT") == 2
    assert not is_running(supervised.worker) and not is_running(supervised.launcher)


def test_a_killed_supervisor_takes_its_launcher_with_it_so_that_the_ranks_notice(tmp_path: Path) -> None:
    """They watch the launchers above them (scaling.launching.ancestry); nobody watches a supervisor."""
    supervised = Supervised(tmp_path, obeys=True)
    (rank,) = map(
        int, Path(f"/proc/{supervised.launcher}/task/{supervised.launcher}/children").read_text().split()
    )
    supervised.process.kill()
    supervised.process.wait()
    _wait_until(lambda: not is_running(supervised.launcher))
    assert is_running(rank), "time for a checkpoint"
    for pid in (rank, supervised.worker):
        subprocess.run(["kill", "-KILL", str(pid)], check=True)


@pytest.mark.parametrize(
    "program, believed",
    [
        ("print('1 of 1 points done; runs in here')", 0),
        ("pass", 1),
        ("print('1 of 2 points done; runs in here'); raise SystemExit(1)", 1),
        ("raise SystemExit(75)", 75),
        (
            "print('killed, run the same command again to continue: 0 of 1 points done; runs in here'); exit(143)",
            143,
        ),
    ],
)
def test_success_is_believed_with_the_parents_last_word_only(
    program: str, believed: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path / "launch"), program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == believed, done.stdout + done.stderr
