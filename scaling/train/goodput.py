"""Goodput: where the wall time of a run went, in seconds that add up over all of its attempts.

    initialisation  from the start of the process to the first batch: imports, engine, compiling, restoring, workers
    productive      steps that are part of the result
    data_stall      waiting for a batch while the device had nothing to do
    checkpoint      writing checkpoints and weights, as far as training stood still for it
    evaluation      during and after training, the record included
    lost            steps done again after a fault, and what a dead attempt had not accounted for

Rank 0 keeps the account.  It is saved in every checkpoint and also, so that the time after the last checkpoint of a
killed attempt is known, in `goodput.jsonl` of the run directory, once per row of metrics and per checkpoint.
Parents add how long each attempt took (`note_attempt`), so that hanging and dying count.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from scaling.records import RunDirectory, append_lines, read_lines

Phase = Literal["initialisation", "productive", "data_stall", "checkpoint", "evaluation", "lost"]
PHASES: tuple[Phase, ...] = ("initialisation", "productive", "data_stall", "checkpoint", "evaluation", "lost")
TRAINING: tuple[Phase, ...] = ("productive", "data_stall")  # what a fault makes undone

FILE = "goodput.jsonl"


def note_attempt(run_folder: Path, attempt: int, seconds: float) -> None:
    """A parent's line: the child of this attempt lived for so many seconds. Call it once rank 0's child has ended."""
    append_lines(run_folder / FILE, [{"attempt": attempt, "lived": seconds}])


class Goodput:
    """The account of one run in one process; on ranks other than 0 it touches no file."""

    def __init__(
        self,
        run: RunDirectory,
        *,
        attempt: int,
        is_main: bool,
        seconds_before: float | None = None,  # in this process until now; None: since the process started
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run = run
        self._path = run.path / FILE
        self._attempt = attempt
        self._is_main = is_main
        self._clock = clock
        self._present: Phase = "initialisation"
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._seconds["initialisation"] = process_age() if seconds_before is None else seconds_before
        self._seconds_of_earlier = 0.0  # attempts, in all
        self._since = clock()

    def seconds(self) -> dict[str, float]:
        """Seconds by phase until now, all attempts; they add up to the wall time of all attempts."""
        self.enter(self._present)
        return {phase: self._seconds[phase] for phase in PHASES}

    def train_seconds(self) -> float:
        """Seconds of steps that count, waiting for data included."""
        seconds = self.seconds()
        return sum(seconds[phase] for phase in TRAINING)

    def enter(self, phase: Phase, *, was: Phase | None = None) -> None:
        """Enter `phase`; the time since the last call counts as `was`, by default the phase entered then."""
        now = self._clock()
        self._seconds[was or self._present] += now - self._since
        self._present, self._since = phase, now

    @contextlib.contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """A context that counts as `phase`; the phase before it continues afterwards."""
        before = self._present
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    def resume(self, restored: Mapping[str, float]) -> None:
        """Go on from the checkpoint with this account ({}: from nothing); call it once, in a new process.

        Of the time since the checkpoint, steps and what nobody accounted for are lost.
        """
        known, unaccounted = dict.fromkeys(PHASES, 0.0), 0.0
        if self._is_main:
            known, unaccounted = _account_of_earlier_attempts(self._path)
        wall = max(sum(known.values()) + unaccounted, sum(restored.values()))
        if sum(restored.values()) > sum(known.values()):  # the checkpoint's is the later one
            known = {phase: restored.get(phase, 0.0) for phase in PHASES}
        known |= {phase: restored.get(phase, 0.0) for phase in TRAINING}
        known["lost"] = wall - sum(known[phase] for phase in PHASES if phase != "lost")
        for phase in PHASES:
            self._seconds[phase] += known[phase]
        self._seconds_of_earlier = wall

    def go_back(self, restored: Mapping[str, float]) -> None:
        """Go back to the checkpoint with this account, in the process that wrote it: the steps since are lost."""
        now = self.seconds()
        for phase in TRAINING:
            self._seconds[phase] = restored.get(phase, 0.0)
            self._seconds["lost"] += now[phase] - self._seconds[phase]

    def write(self) -> None:
        """Leave the account for the next attempt, should this one not end well."""
        if self._is_main:
            seconds = self.seconds()
            lived = sum(seconds.values()) - self._seconds_of_earlier
            row = {"attempt": self._attempt, "accounted": lived, "seconds": seconds}
            self._run.append(self._path, [row])


def _account_of_earlier_attempts(path: Path) -> tuple[dict[Phase, float], float]:
    """Seconds by phase that the attempts before accounted for, and seconds of which only their parents know.

    An account holds all attempts before its own, so that only the last one and what was lived after it count.
    """
    last: dict[str, Any] = {"attempt": None, "accounted": 0.0, "seconds": {}}
    lived_since: list[tuple[int, float]] = []
    for row in read_lines(path):
        if "seconds" in row:
            last, lived_since = row, []
        else:
            lived_since.append((row["attempt"], row["lived"]))
    unaccounted = 0.0
    for index, (attempt, lived) in enumerate(lived_since):
        is_of_last = index == 0 and attempt == last["attempt"]
        unaccounted += max(0.0, lived - last["accounted"]) if is_of_last else lived
    return {phase: float(last["seconds"].get(phase, 0.0)) for phase in PHASES}, unaccounted


def process_age() -> float:
    """Seconds since the kernel started this process (Linux: field 22 of /proc/self/stat, in ticks since boot)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # from field 3 on
    started = int(fields[22 - 3]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
