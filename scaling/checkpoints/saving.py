"""Writing a checkpoint while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Saving(threading.Thread):
    """A thread that writes this rank's share; on rank 0 it then waits for the others and publishes the checkpoint.

    A daemon: a process that must end does not wait for it, and what it leaves has the name of an incomplete checkpoint.
    """

    def __init__(
        self, step: int, write: Callable[[], None], publish: Callable[[threading.Event], None]
    ) -> None:
        super().__init__(name=f"checkpoint-{step}", daemon=True)
        self.step = step
        self.error: Exception | None = None
        self._write = write
        self._publish = publish
        self._is_written = threading.Event()
        self._is_abandoned = threading.Event()

    def run(self) -> None:
        """Never raises: errors are kept for error_of_writing and error_of_publishing."""
        try:
            self._write()
        except Exception as error:
            self.error = error
        finally:
            self._is_written.set()
        if self.error is None:
            try:
                self._publish(self._is_abandoned)
            except Exception as error:
                self.error = error

    def error_of_writing(self) -> Exception | None:
        """Wait until this rank's share is written; returns the error, None if there was none."""
        self._is_written.wait()
        return self.error

    def error_of_publishing(self) -> Exception | None:
        """Wait until the checkpoint is published; returns the error, None if there was none."""
        self.join()
        return self.error

    def abandon(self) -> None:
        """Wait until the thread has ended, and make it not wait for other ranks."""
        self._is_abandoned.set()
        self.join()
