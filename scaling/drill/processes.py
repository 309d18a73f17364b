"""Finds the processes that a launch of a drill started, and what it left on this machine; never other jobs'."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from scaling.processes.residue import SCRATCH_PREFIX, SHARED_MEMORY

MARK = "SCALING_DRILL"
"""The environment variable that marks a launch's processes, which all inherit it."""

# in the first line of each attempt's log: where its process group met
PORT = re.compile(r"MASTER_PORT=(\d+)")
SEGMENT = re.compile(r"\d{6}_\w+")  # streaming's names in shared memory
CLEAN_SECONDS = 20.0  # for the last process to clear up and to be gone


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A living process and its command line."""

    pid: int
    words: tuple[str, ...]

    @property
    def is_launcher_of_deepspeed(self) -> bool:
        """Whether it is DeepSpeed's runner or its launcher of this machine, not a rank."""
        is_runner = any(Path(word).name == "deepspeed" for word in self.words[:2])
        return is_runner or "deepspeed.launcher.launch" in self.words


def processes_of(mark: str) -> list[Process]:
    """The living processes whose environment has the mark."""
    wanted = os.fsencode(f"{MARK}={mark}")
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):  # another user's, or it ended meanwhile
            if wanted not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                continue
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found.append(Process(pid=pid, words=tuple(os.fsdecode(word) for word in words if word)))
    return [process for process in found if process.words]  # those without any are zombies


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    """Send a signal to each that still lives."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def left_behind(mark: str, temporary: Path, logs: Iterable[Path], since: float) -> list[str]:
    """What an ended launch still has after CLEAN_SECONDS: processes, scratch folders, shared memory.

    Ports need no look: they close with the process that listens.  `since`: the launch's start, seconds since the epoch.
    """
    logs = list(logs)
    return _what_stays(
        lambda: [
            *(f"process {process.pid} ({' '.join(process.words[:4])})" for process in processes_of(mark)),
            *(str(path) for path in temporary.glob(f"{SCRATCH_PREFIX}*")),
            *_buffers(logs),
            *_segments(since),
        ]
    )


def left_in_shared_memory(logs: Iterable[Path], since: float) -> list[str]:
    """What the processes of these logs, which have ended, left there; `since`: when the first of them began."""
    logs = list(logs)
    return _what_stays(lambda: [*_buffers(logs), *_segments(since)])


def _what_stays(look: Callable[[], list[str]]) -> list[str]:
    """What `look` finds every time over CLEAN_SECONDS; other jobs' segments may seem unused in a single look."""
    deadline = time.monotonic() + CLEAN_SECONDS
    found = look()
    while found and time.monotonic() < deadline:
        time.sleep(0.2)
        again = set(look())
        found = [name for name in found if name in again]
    return found


def _buffers(logs: Iterable[Path]) -> list[str]:
    """DeepSpeed's all-reduce buffers of the process groups that these logs tell of."""
    ports = {port for log in logs for port in PORT.findall(log.read_text(errors="replace"))}
    names = (f"deepspeed_allreduce_buffer_{os.getuid()}_*_{port}_*" for port in ports)
    return [str(path) for name in names for path in SHARED_MEMORY.glob(name)]


def _segments(since: float) -> list[str]:
    """Streaming's segments of this user, made since then, that no living process has mapped.

    They bear no owner's name; those of other jobs on this machine are mapped as long as these live.
    """
    found: dict[str, int] = {}
    for path in SHARED_MEMORY.iterdir():
        with contextlib.suppress(OSError):
            status = path.stat()
            if SEGMENT.fullmatch(path.name) and status.st_uid == os.getuid() and status.st_ctime > since:
                found[str(path)] = status.st_ino
    mapped = _mapped_files() if found else set()
    return [f"{path} (inode {inode})" for path, inode in found.items() if path not in mapped]


def _mapped_files() -> set[str]:
    """The files in shared memory that living processes of this user have mapped."""
    files: set[str] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
            files |= {line[line.index(str(SHARED_MEMORY)) :] for line in lines if str(SHARED_MEMORY) in line}
    return files
