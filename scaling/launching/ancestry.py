"""Whether the launcher that started this process is still there."""

from __future__ import annotations

import os
from pathlib import Path


class Ancestry:
    """The chain above a rank's parent process: DeepSpeed's per-node launcher, and the runner above that.

    DeepSpeed 0.19.8 leaves ranks running when its runner gets a SIGTERM and when its per-node launcher is
    killed; a rank therefore has to notice by itself.
    """

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._grandparent = _parent_of(self._parent) if _is_deepspeed_launcher(self._parent) else None

    def is_broken(self) -> bool:
        """Whether a process above this one died since the start."""
        if os.getppid() != self._parent:
            return True
        return self._grandparent is not None and _parent_of(self._parent) != self._grandparent


def _is_deepspeed_launcher(pid: int) -> bool:
    try:
        return b"deepspeed.launcher.launch" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _parent_of(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(status.rpartition(")")[2].split()[1])  # the name in parentheses may hold spaces
