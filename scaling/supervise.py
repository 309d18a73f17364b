"""`scaling launch`: DeepSpeed's launcher in a session of its own, ended as a whole, its exit code not believed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

ENTRY = Path(__file__).resolve().parent.parent / "launch"
GRACE_SECONDS = 30.0  # DeepSpeed's own grace for ranks before it kills them


def supervise(sweep: Path, num_ranks: int | None, options: Sequence[str]) -> int:
    """Exit status of the sweep: 0 only if the parents said that every point is done.

    DeepSpeed 0.19.8 exits with 0 when its per-node launcher is killed, and on SIGTERM leaves the ranks running;
    so it gets its own session, signals go to the whole group, and 0 is believed only with the parents' last word.
    """
    if not ENTRY.exists():
        raise ValueError(
            f"{ENTRY} is missing: `scaling launch` needs a checkout of the repository (pip install -e .)."
        )
    ranks = [] if num_ranks is None else ["--num_accelerators", str(num_ranks)]
    command = [str(Path(sys.executable).with_name("deepspeed")), *ranks, str(ENTRY), str(sweep), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with _forwarded_signals(process):
        has_last_word = False
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            has_last_word = has_last_word or " points done; runs in " in line
        status = process.wait()
    if status == 0 and not has_last_word:
        print(
            "error: the launcher ended before the sweep did; run the same command again to continue",
            flush=True,
        )
        return 1
    return status if status >= 0 else 128 - status


class _forwarded_signals:
    """SIGTERM and SIGINT go to the whole group of a process while this context lasts."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._forward)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(GRACE_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
