"""Whether this process was asked to stop, by a signal or by its launcher's death."""

from __future__ import annotations

import signal
import time
from types import FrameType

from scaling.launching.ancestry import Ancestry

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""The signals by which Kubernetes and DeepSpeed, a terminal, Slurm and submitit ask a process to stop."""

ECHO_SECONDS = 1.0  # a terminal's Ctrl-C may arrive twice, directly and passed on by a launcher


class Terminated(Exception):
    """This process was asked to stop, or lost its launcher, another rank's parent, or its lease."""


class StopRequest:
    """Whether this process was asked to stop, why, and how urgently; parents ask it between looks at their children."""

    def __init__(self) -> None:
        self.interrupts = True  # raise Terminated at once: nothing runs yet that has to be ended in order
        self.is_urgent = False  # interrupted a second time
        self._reason = ""
        self._interrupted_at: float | None = None
        self._ancestry = Ancestry()

    def listen(self) -> None:
        """Note every signal that asks to stop, from now on."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)

    @property
    def reason(self) -> str:
        """Why to stop, empty if nobody asked."""
        if not self._reason and self._ancestry.is_broken():
            self._reason = "the launcher that started this rank is gone"
        return self._reason

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT:
            self.is_urgent |= self._interrupted_at is not None and now - self._interrupted_at > ECHO_SECONDS
            self._interrupted_at = self._interrupted_at or now
        self._reason = self._reason or f"got {signal.Signals(number).name}"
        if self.interrupts:
            self.interrupts = False  # only once: the clean-up that follows must not be interrupted
            raise Terminated(self._reason)
