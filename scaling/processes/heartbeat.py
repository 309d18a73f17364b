"""Signs of life of a child, for its parent: a small file that the child writes at every step and the parent reads.

The file is mapped into the child's memory, so that a beat costs microseconds and no system call. A checksum tells the
reader whether it looked in the middle of a beat.
"""

from __future__ import annotations

import bisect
import dataclasses
import mmap
import struct
import time
import zlib
from collections import deque
from pathlib import Path
from typing import Literal, get_args

Phase = Literal["starting", "training", "checkpointing", "evaluating"]
"""What a child is doing. It is "starting" until its first step is done: that one may compile and tune for minutes."""

PHASES: tuple[Phase, ...] = get_args(Phase)

MEDIAN_OVER = 101  # steps; enough for a steady median, few enough to follow a change of pace
READ_ATTEMPTS = 100  # a beat takes microseconds, so a second look nearly always finds a whole one

# step, seconds of the monotonic clock, index of the phase, median seconds of a step
_BEAT = struct.Struct("<qdid")
_CHECKSUM = struct.Struct("<I")
_SIZE = _BEAT.size + _CHECKSUM.size


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """The last sign of life of a child."""

    step: int  # optimizer steps done, of the whole run
    at_monotonic: float  # time.monotonic() then; one clock for all processes of a machine
    phase: Phase
    median_step_seconds: float  # of the last training steps of this process; 0.0 before its second


def heartbeat_file(scratch: Path, rank: int) -> Path:
    """Where the child of a rank leaves its signs of life."""
    return scratch / f"heartbeat-{rank}"


class HeartbeatWriter:
    """The child's side of a heartbeat file; beats at once, as "starting"."""

    def __init__(self, path: Path) -> None:
        with open(path, "wb+") as stream:
            stream.truncate(_SIZE)
            stream.flush()
            self._map = mmap.mmap(stream.fileno(), _SIZE)
        self._last: tuple[int, float, Phase] = 0, 0.0, "starting"
        self._recent: deque[float] = deque()  # seconds per step, in order of time
        self._sorted: list[float] = []  # the same, by size
        self.beat(0, "starting")

    def beat(self, step: int, phase: Phase) -> None:
        """Say that this child lives, has done `step` steps and is at `phase`."""
        now = time.monotonic()
        last_step, last_at, last_phase = self._last
        if phase == last_phase == "training" and step == last_step + 1:
            self._note_duration(now - last_at)
        self._last = step, now, phase
        beat = _BEAT.pack(step, now, PHASES.index(phase), self._median())
        self._map[:] = beat + _CHECKSUM.pack(zlib.crc32(beat))

    def beat_again(self) -> None:
        """Say that this child lives and is still at what it said last."""
        step, _, phase = self._last
        self.beat(step, phase)

    def _note_duration(self, seconds: float) -> None:
        self._recent.append(seconds)
        bisect.insort(self._sorted, seconds)
        if len(self._recent) > MEDIAN_OVER:
            del self._sorted[bisect.bisect_left(self._sorted, self._recent.popleft())]

    def _median(self) -> float:
        return self._sorted[len(self._sorted) // 2] if self._sorted else 0.0


def read_heartbeat(path: Path) -> Heartbeat | None:
    """The last beat of a child; None if there is none yet, or if it died in the middle of one."""
    for _ in range(READ_ATTEMPTS):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        beat, checksum = content[: _BEAT.size], content[_BEAT.size :]
        if len(content) == _SIZE and checksum == _CHECKSUM.pack(zlib.crc32(beat)):
            step, at, phase, median = _BEAT.unpack(beat)
            return Heartbeat(step=step, at_monotonic=at, phase=PHASES[phase], median_step_seconds=median)
    return None
