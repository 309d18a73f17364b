from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from scaling.processes import heartbeat as module
from scaling.processes.heartbeat import MEDIAN_OVER, HeartbeatWriter, heartbeat_file, read_heartbeat


class Clock:
    """What heartbeats take for time.monotonic."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


def test_a_child_that_has_not_begun_has_no_heartbeat(tmp_path: Path) -> None:
    assert read_heartbeat(heartbeat_file(tmp_path, 3)) is None


def test_a_parent_reads_the_last_beat_by_the_clock_that_all_processes_share(tmp_path: Path) -> None:
    path = heartbeat_file(tmp_path, 0)
    before = time.monotonic()
    writer = HeartbeatWriter(path)
    first = read_heartbeat(path)
    assert first is not None and (first.step, first.phase) == (0, "starting")
    assert before <= first.at_monotonic <= time.monotonic()
    writer.beat(12_345_678_901, "evaluating")
    last = read_heartbeat(path)
    assert last is not None and (last.step, last.phase) == (12_345_678_901, "evaluating")


def test_the_median_is_of_the_last_training_steps_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path = Clock(monkeypatch), tmp_path / "heartbeat"
    writer = HeartbeatWriter(path)
    durations = [float(1 + 7 * number % 50) for number in range(3 * MEDIAN_OVER)]
    for step, seconds in enumerate([600.0, *durations]):  # the first step compiles, and is no measure
        clock.now += seconds
        writer.beat(step, "training")
    beat = read_heartbeat(path)
    assert beat is not None
    assert beat.median_step_seconds == statistics.median(durations[-MEDIAN_OVER:])
    assert beat.at_monotonic == clock.now


def test_checkpoints_evaluations_and_going_back_are_no_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path = Clock(monkeypatch), tmp_path / "heartbeat"
    writer = HeartbeatWriter(path)
    for step, phase, seconds in (
        (1, "training", 600.0),
        (2, "training", 2.0),
        (2, "checkpointing", 0.1),
        (2, "training", 300.0),
        (3, "training", 2.0),
        (1, "training", 300.0),
    ):
        clock.now += seconds
        writer.beat(step, phase)  # type: ignore[arg-type]
    beat = read_heartbeat(path)
    assert beat is not None and beat.median_step_seconds == 2.0


def test_a_sign_of_life_between_steps_changes_nothing_but_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, path = Clock(monkeypatch), tmp_path / "heartbeat"
    writer = HeartbeatWriter(path)
    writer.beat(7, "evaluating")
    clock.now += 5.0
    writer.beat_again()
    beat = read_heartbeat(path)
    assert beat is not None
    assert (beat.step, beat.phase, beat.at_monotonic, beat.median_step_seconds) == (
        7,
        "evaluating",
        1005.0,
        0.0,
    )


def test_half_a_beat_is_none(tmp_path: Path) -> None:
    """Its writer was killed in the middle, or the reader looks meanwhile."""
    path = tmp_path / "heartbeat"
    HeartbeatWriter(path).beat(1, "training")
    content = bytearray(path.read_bytes())
    for number in range(len(content)):
        torn = content.copy()
        torn[number] ^= 1
        path.write_bytes(torn)
        assert read_heartbeat(path) is None, number
    path.write_bytes(content[:10])
    assert read_heartbeat(path) is None
