"""Waiting for data is counted, working on it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from scaling.data.stream.waiting import WaitingTime


def test_only_the_time_until_a_batch_is_there_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def slow() -> Iterator[int]:
        for batch in range(3):
            now[0] += 2.0
            yield batch
        now[0] += 5.0

    waiting, seen = WaitingTime(), []
    for batch in waiting.timed(slow()):
        seen.append(batch)
        now[0] += 100.0
    assert seen == [0, 1, 2]
    assert waiting.take() == 3 * 2.0 + 5.0 and waiting.take() == 0.0


def test_an_error_of_the_loader_passes_and_its_wait_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def failing() -> Iterator[int]:
        now[0] += 7.0
        raise RuntimeError("a shard is missing")
        yield 0

    waiting = WaitingTime()
    with pytest.raises(RuntimeError, match="a shard is missing"):
        list(waiting.timed(failing()))
    assert waiting.take() == 7.0


def test_a_batch_can_be_left_behind() -> None:
    waiting = WaitingTime()
    assert next(waiting.timed([4, 5])) == 4 and waiting.take() < 1
