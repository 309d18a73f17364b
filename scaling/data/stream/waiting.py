"""How long the training loop stands waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class WaitingTime:
    """Adds up the seconds in which the taker of batches waited for them; near 0 when loading keeps up."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time until each is there is counted, that until the next is asked for is not."""
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self._seconds += time.perf_counter() - start
            yield batch

    def take(self) -> float:
        """Seconds waited since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds
