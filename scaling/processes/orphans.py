"""Makes processes end with the one that started them, and tells whether a process is alive."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
from multiprocessing import connection

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Make this child process end when its parent does, even by SIGKILL.

    An orphan would hold ports, memory and a GPU, or keep writing; a pool's own pipes would keep it waiting for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def signal_at_parents_death(number: int) -> None:
    """Let the kernel send this process a signal when the one that started it dies, even by SIGKILL; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def process_exists(pid: int) -> bool:
    """Whether a process of that number lives on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
