"""`scaling launch`: runs DeepSpeed's launcher in a session of its own and does not rely on its exit code."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from scaling.launching.stop_request import STOP_SIGNALS
from scaling.processes.assignment import EXIT_PREEMPTED
from scaling.processes.orphans import signal_at_parents_death
from scaling.processes.ranks import free_port
from scaling.processes.residue import remove_orphans

ENTRY = Path(__file__).resolve().parents[2] / "launch"
PATIENCE_SECONDS = 900.0
"""From a request to stop to SIGKILL for all, in case ranks are stuck.  Otherwise they end within grace_seconds, and no
queue grants as long as this (assumption)."""
IMPATIENT_SECONDS = 10.0  # from the second request
LAUNCHER_ENDS_SECONDS = 5.0  # DeepSpeed looks at its ranks every second

# phrases of the parents' last line, because DeepSpeed's launcher may exit with 0 whatever happened to them
_PREEMPTED, _WHOLE = "preempted, run the same command again", " points done; runs in "


def supervise(sweep: Path, num_ranks: int | None, options: Sequence[str]) -> int:
    """Train a sweep; its exit status: 0 only if the parents said that every point is done, 75 if they said preempted.

    DeepSpeed 0.19.8 exits with 0 when its per-node launcher is killed, and on SIGTERM leaves the ranks running;
    so it gets its own session, signals go to the ranks themselves, and what is left at the end is killed.
    """
    if not ENTRY.exists():
        raise ValueError(
            f"{ENTRY} is missing: `scaling launch` needs a checkout of the repository (pip install -e .)."
        )
    ranks = [] if num_ranks is None else ["--num_accelerators", str(num_ranks)]
    port = ["--master_port", str(free_port())]  # DeepSpeed's own is the same for every launch on a machine
    deepspeed = str(Path(sys.executable).with_name("deepspeed"))
    return run_launcher([deepspeed, *ranks, *port, str(ENTRY), str(sweep), *options])


def run_launcher(command: Sequence[str]) -> int:
    """The exit status of the sweep that a launcher's command trains, as `supervise` says."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # its ranks notice and checkpoint
        preexec_fn=functools.partial(signal_at_parents_death, signal.SIGTERM),
    )
    with _forwarded_signals(process.pid):
        last_words = ""
        assert process.stdout is not None
        for line in process.stdout:  # ends when the last rank has
            print(line, end="", flush=True)
            last_words = line if _WHOLE in line else last_words
        _end_session(process)
    return _exit_status(process.wait(), last_words)


def _exit_status(status: int, last_words: str) -> int:
    if _PREEMPTED in last_words or status == EXIT_PREEMPTED:
        return EXIT_PREEMPTED
    if status == 0 and not last_words:
        print(
            "error: the launcher ended before the sweep did; run the same command again to continue",
            flush=True,
        )
        return 1
    return status if status >= 0 else 128 - status


class _forwarded_signals:
    """A context in which signals to stop are forwarded to the ranks of a session; a second one is urgent."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._before: dict[int, Any] = {}
        self._kill = threading.Timer(PATIENCE_SECONDS, kill_session, [session])
        self._was_asked = False

    def __enter__(self) -> None:
        for number in STOP_SIGNALS:
            self._before[number] = signal.signal(number, self._forward)

    def __exit__(self, *_: object) -> None:
        self._kill.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        """To the ranks alone: DeepSpeed's launchers would signal every process below them, loader workers too."""
        ranks = [pid for pid in _processes_of(self._session) if _is_rank(pid)]
        for pid in ranks or _processes_of(self._session):  # nothing trains yet
            _send(pid, number)
        if self._was_asked and number == signal.SIGINT:
            self._kill.cancel()
            self._kill = threading.Timer(IMPATIENT_SECONDS, kill_session, [self._session])
        if not self._kill.is_alive():
            self._kill.daemon = True
            self._kill.start()
        self._was_asked = True


def _end_session(process: subprocess.Popen[str]) -> None:
    """Wait for the launcher, whose ranks have ended, kill what is left of its session, and clear up behind it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LAUNCHER_ENDS_SECONDS)
    kill_session(process.pid)
    remove_orphans(Path(tempfile.gettempdir()))


def kill_session(session: int) -> None:
    """Kill every process of a session, whatever group it is in."""
    deadline = time.monotonic() + IMPATIENT_SECONDS
    while (left := _processes_of(session)) and time.monotonic() < deadline:
        for pid in left:
            _send(pid, signal.SIGKILL)
        time.sleep(0.1)


def _processes_of(session: int) -> list[int]:
    """The living processes of a session."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _session_of(pid) == session]


def _session_of(pid: int) -> int | None:
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:  # it ended meanwhile
        return None
    return None if state == "Z" else int(session)


def _is_rank(pid: int) -> bool:
    """Whether a process is the parent of one rank: Python that runs our entry, not a launcher with it as argument."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(ENTRY) in words[1:3] and b"--local_rank" in b" ".join(words[:4])


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
