"""Where the wall time of a run went: seconds that add up, whatever happened to it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.records import RunDirectory
from scaling.train.goodput import PHASES, Goodput, note_attempt, process_age


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def attempt(folder: Path, clock: Clock, number: int = 1, *, before: float = 0.0) -> Goodput:
    return Goodput(RunDirectory(folder), attempt=number, is_main=True, seconds_before=before, clock=clock)


def spent(goodput: Goodput) -> dict[str, float]:
    """The phases that took any time."""
    return {phase: round(seconds, 9) for phase, seconds in goodput.seconds().items() if seconds}


def test_each_second_belongs_to_the_phase_in_which_it_passed(tmp_path: Path) -> None:
    clock = Clock()
    goodput = attempt(tmp_path, clock, before=5)
    clock.now += 2  # still setting up
    goodput.enter("productive")
    clock.now += 10
    with goodput.phase("checkpoint"):
        clock.now += 3
    goodput.enter("data_stall")
    clock.now += 1
    goodput.enter("evaluation")
    clock.now += 7
    expected = {"initialisation": 7, "productive": 10, "data_stall": 1, "checkpoint": 3, "evaluation": 7}
    assert spent(goodput) == expected
    assert goodput.train_seconds() == 11


def test_a_phase_that_fails_ends_too(tmp_path: Path) -> None:
    clock = Clock()
    goodput = attempt(tmp_path, clock)
    with pytest.raises(OSError), goodput.phase("checkpoint"):
        clock.now += 3
        raise OSError("disk full")
    clock.now += 1
    assert spent(goodput) == {"initialisation": 1, "checkpoint": 3}


def test_a_wait_can_be_named_when_it_is_over(tmp_path: Path) -> None:
    clock = Clock()
    goodput = attempt(tmp_path, clock)
    goodput.enter("data_stall")
    clock.now += 4
    goodput.enter("productive", was="productive")
    clock.now += 1
    assert spent(goodput) == {"productive": 5}


def test_steps_after_the_last_checkpoint_of_a_killed_attempt_are_lost_and_its_other_time_is_not(
    tmp_path: Path,
) -> None:
    clock = Clock()
    first = attempt(tmp_path, clock, before=20)
    first.enter("productive")
    clock.now += 100
    in_checkpoint = first.seconds()
    with first.phase("checkpoint"):
        clock.now += 6
    clock.now += 30
    with first.phase("evaluation"):
        clock.now += 4
    first.write()
    clock.now += 9  # hangs until its parent kills it
    note_attempt(tmp_path, 1, 20 + 100 + 6 + 30 + 4 + 9)
    second = attempt(tmp_path, clock, 2, before=25)
    second.resume(in_checkpoint)
    expected = {"initialisation": 45, "productive": 100, "checkpoint": 6, "evaluation": 4, "lost": 30 + 9}
    assert spent(second) == expected


def test_an_attempt_that_died_before_its_first_account_is_lost_as_its_parent_timed_it(tmp_path: Path) -> None:
    note_attempt(tmp_path, 1, 12.5)
    note_attempt(tmp_path, 2, 7.5)
    third = attempt(tmp_path, Clock(), 3)
    third.resume({})
    assert spent(third) == {"lost": 20}


def test_going_back_within_a_process_loses_the_steps_since_the_checkpoint(tmp_path: Path) -> None:
    clock = Clock()
    goodput = attempt(tmp_path, clock)
    goodput.enter("productive")
    clock.now += 50
    at_checkpoint = goodput.seconds()
    clock.now += 5
    goodput.go_back(at_checkpoint)
    clock.now += 2
    goodput.go_back(at_checkpoint)
    clock.now += 1
    assert spent(goodput) == {"productive": 51, "lost": 7}


def test_the_account_of_a_checkpoint_counts_where_the_file_is_gone(tmp_path: Path) -> None:
    goodput = attempt(tmp_path, Clock())
    goodput.resume({"productive": 100.0, "initialisation": 9.0, "lost": 3.0})
    assert spent(goodput) == {"productive": 100, "initialisation": 9, "lost": 3}


def test_other_ranks_touch_no_file(tmp_path: Path) -> None:
    note_attempt(tmp_path, 1, 5.0)
    before = (tmp_path / "goodput.jsonl").read_bytes()
    other = Goodput(RunDirectory(tmp_path), attempt=2, is_main=False, seconds_before=0.0, clock=Clock())
    other.write()
    assert spent(other) == {} and (tmp_path / "goodput.jsonl").read_bytes() == before


@given(seed=st.integers(0, 10**6))
def test_the_phases_add_up_to_the_wall_time_of_all_attempts(seed: int) -> None:
    """Attempts of random phases, killed at random moments, some retried under the same number."""
    chance, clock = random.Random(seed), Clock()
    with tempfile.TemporaryDirectory() as name:
        folder, began, checkpoint = Path(name), clock.now, dict[str, float]()
        for number in (1, 1, 2, 3):
            born = clock.now
            clock.now += chance.uniform(0, 5)
            goodput = attempt(folder, clock, number, before=clock.now - born)
            goodput.resume(checkpoint)
            for _ in range(chance.randrange(6)):
                goodput.enter(chance.choice(PHASES[:-1]))
                clock.now += chance.uniform(0, 5)
                if chance.random() < 0.5:
                    goodput.write()
                if chance.random() < 0.3:
                    checkpoint = goodput.seconds()
            total, wall = sum(goodput.seconds().values()), clock.now - began
            assert total == pytest.approx(wall)
            clock.now += chance.uniform(0, 5)  # dying
            note_attempt(folder, number, clock.now - born)


def test_a_process_knows_how_long_it_has_lived() -> None:
    code = "import time; time.sleep(0.3); from scaling.train.goodput import process_age; print(process_age())"
    began = time.monotonic()
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert 0.3 - 2 * tick <= float(printed) <= time.monotonic() - began + 2 * tick
    assert process_age() > 0


def test_a_parent_notes_an_attempt_without_loading_torch() -> None:
    code = "import sys, scaling.train.goodput; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
