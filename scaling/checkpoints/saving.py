"""Writing a checkpoint while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Saving(threading.Thread):
    """Writes this rank's share and then, on rank 0, waits for the others' and brings the whole into force.

    A daemon: a process that must end does not wait for it, and what it leaves is half-written by name.
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
        """Never raises: an error waits for whoever asks."""
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
        """Wait for this rank's share; what went wrong with it."""
        self._is_written.wait()
        return self.error

    def error_of_publishing(self) -> Exception | None:
        """Wait for the whole; what went wrong with it."""
        self.join()
        return self.error

    def abandon(self) -> None:
        """Return when the thread has ended, without waiting for other ranks."""
        self._is_abandoned.set()
        self.join()
