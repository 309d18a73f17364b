"""Being told to stop: a signal asks this process to checkpoint and to end as preempted (exit code 75).

While the training loop runs it looks at the request, and all ranks stop after the same step. Before and after, nothing
would be lost by ending at once, so a request then ends the process, even where the main thread waits for other ranks
in a library: signals are heard by a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Preempted(RuntimeError):
    """Training stopped because it was asked to; its checkpoint is written."""

    def __init__(self, step: int, samples_seen: int) -> None:
        super().__init__(f"told to stop; checkpoint written at {samples_seen:,} samples")
        self.facts = {"step": step}


class Preemption:
    """Whether this process was asked to checkpoint and end; `end_now` (reason) ends it where nothing would be lost."""

    def __init__(self, end_now: Callable[[str], None]) -> None:
        self._end_now = end_now
        self._lock = threading.Lock()
        self._is_heeded = False
        self._reason = ""

    @property
    def is_asked(self) -> bool:
        """Whether a stop was asked for."""
        return bool(self._reason)

    def listen(self) -> None:
        """Take the signals that ask for a stop from now on; called in the main thread."""
        receiver, sender = os.pipe()
        os.set_blocking(sender, False)
        for number in STOP_SIGNALS:
            # without one, nothing is sent to the wakeup descriptor
            signal.signal(number, _heard_by_the_thread)
        signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
        threading.Thread(target=self._hear, args=(receiver,), daemon=True, name="preemption").start()

    def _hear(self, receiver: int) -> None:
        while received := os.read(receiver, 64):
            for number in received:  # other signals with a Python handler come along here too
                if number in STOP_SIGNALS:
                    self.ask(f"{signal.Signals(number).name} received")

    def ask(self, reason: str) -> None:
        """Ask for a stop; where nobody heeds it, this process ends here."""
        with self._lock:
            self._reason = self._reason or reason
            if self._is_heeded:
                return
        self._end_now(reason)

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Inside, whoever calls looks at `is_asked`; what is still asked for at a good end ends the process there."""
        with self._lock:
            self._is_heeded = True
        try:
            yield
        finally:
            with self._lock:
                self._is_heeded = False
        if self.is_asked:
            self._end_now(self._reason)


def _heard_by_the_thread(number: int, frame: object) -> None:
    """Nothing: the byte that Python sent to the wakeup descriptor is all that counts."""
