from __future__ import annotations

from pathlib import Path

import pytest

from scaling.launching import watchdog
from scaling.launching.watchdog import LEAST_SECONDS, OTHER_PHASES_SECONDS, Watchdog
from scaling.processes.heartbeat import HeartbeatWriter, Phase


class Clock:
    """time.monotonic that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def _silence_until_hung(clock: Clock, dog: Watchdog, most: float = 10_000.0) -> float:
    """Seconds, looked at every second."""
    start = clock.now
    while clock.now - start < most:
        if dog.look() is not None:
            return clock.now - start
        clock.now += 1.0
    return most


def _train(clock: Clock, path: Path, step_seconds: float) -> HeartbeatWriter:
    writer = HeartbeatWriter(path)
    for step in range(1, 12):
        clock.now += step_seconds
        writer.beat(step, "training")
    return writer


@pytest.mark.parametrize("step_seconds, limit", [(0.01, LEAST_SECONDS), (4.0, 200.0)])
def test_a_run_is_hung_after_so_many_steps_time_without_a_step_but_never_before_a_minute(
    step_seconds: float, limit: float, clock: Clock, tmp_path: Path
) -> None:
    _train(clock, tmp_path / "heart", step_seconds)
    dog = Watchdog(tmp_path / "heart", hang_factor=50)
    assert limit < _silence_until_hung(clock, dog) < limit + 3
    hang = dog.look()
    assert hang is not None and hang.facts(3)["rank"] == 3 and hang.facts(3)["step"] == 11
    assert hang.facts(3)["median_step_seconds"] == pytest.approx(step_seconds)


@pytest.mark.parametrize("phase", ["starting", "evaluating", "checkpointing"])
def test_other_phases_have_half_an_hour(phase: Phase, clock: Clock, tmp_path: Path) -> None:
    _train(clock, tmp_path / "heart", 0.01).beat(11, phase)
    dog = Watchdog(tmp_path / "heart", hang_factor=50)
    assert OTHER_PHASES_SECONDS < _silence_until_hung(clock, dog) < OTHER_PHASES_SECONDS + 3


def test_a_child_that_never_gave_a_sign_of_life_is_hung_after_half_an_hour(
    clock: Clock, tmp_path: Path
) -> None:
    dog = Watchdog(tmp_path / "heart", hang_factor=50)
    assert OTHER_PHASES_SECONDS < _silence_until_hung(clock, dog) < OTHER_PHASES_SECONDS + 3


def test_a_machine_that_slept_finds_nobody_hung(clock: Clock, tmp_path: Path) -> None:
    """A suspended job's children were suspended, too."""
    _train(clock, tmp_path / "heart", 0.01)
    dog = Watchdog(tmp_path / "heart", hang_factor=50)
    assert dog.look() is None
    clock.now += 3600
    assert dog.look() is None
    assert _silence_until_hung(clock, dog) > LEAST_SECONDS - watchdog.LONGEST_LOOK_SECONDS - 1


def test_every_beat_starts_the_wait_anew(clock: Clock, tmp_path: Path) -> None:
    writer = _train(clock, tmp_path / "heart", 0.01)
    dog = Watchdog(tmp_path / "heart", hang_factor=50)
    for step in range(12, 20):
        assert _silence_until_hung(clock, dog, most=50) == 50
        writer.beat(step, "training")
