"""Whether a child still makes progress, from the heartbeat it leaves in its scratch folder."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from scaling.processes.heartbeat import Heartbeat, read_heartbeat

LEAST_SECONDS = 60.0  # without a step before a run counts as hung, however fast its steps are (assumption)
OTHER_PHASES_SECONDS = 1800.0
"""Without a beat while starting, evaluating or checkpointing, or before any step was timed: the limit that
PyTorch's process groups have here, too (scaling.train.main.PROCESS_GROUP_TIMEOUT)."""

LONGEST_LOOK_SECONDS = 5.0
"""At most this much of the time between two looks counts, so that the sleep of a suspended machine is no hang."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Hang:
    """A child that made no progress for longer than it may."""

    phase: str
    step: int
    seconds: float  # since its last beat
    limit_seconds: float
    median_step_seconds: float

    def reason(self, rank: int) -> str:
        """One line for people."""
        where = f"at step {self.step:,}" if self.phase == "training" else f"while {self.phase}"
        return f"rank {rank} made no progress for {self.seconds:.0f} s {where} (limit {self.limit_seconds:.0f} s)"

    def facts(self, rank: int) -> dict[str, Any]:
        """What Status.facts says of a hung run."""
        return {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "median_step_seconds": self.median_step_seconds,
            "rank": rank,
        }


class Watchdog:
    """Watches one child's heartbeat."""

    def __init__(self, heartbeat: Path, hang_factor: int, least_seconds: float = LEAST_SECONDS) -> None:
        self._path = heartbeat
        self._hang_factor = hang_factor
        self._least_seconds = least_seconds
        self._beat: Heartbeat | None = None
        self._looked_at = time.monotonic()
        self._silent_seconds = 0.0

    def look(self) -> Hang | None:
        """The hang, if the child has been silent for longer than its phase allows."""
        now = time.monotonic()
        elapsed, self._looked_at = min(now - self._looked_at, LONGEST_LOOK_SECONDS), now
        beat = read_heartbeat(self._path)
        self._silent_seconds = 0.0 if beat != self._beat else self._silent_seconds + elapsed
        self._beat = beat
        limit = self._limit_seconds()
        if self._silent_seconds <= limit:
            return None
        return Hang(
            phase="starting" if beat is None else beat.phase,
            step=0 if beat is None else beat.step,
            seconds=self._silent_seconds,
            limit_seconds=limit,
            median_step_seconds=0.0 if beat is None else beat.median_step_seconds,
        )

    def _limit_seconds(self) -> float:
        beat = self._beat
        if beat is None or beat.phase != "training" or not beat.median_step_seconds > 0:
            return OTHER_PHASES_SECONDS
        return max(self._least_seconds, self._hang_factor * beat.median_step_seconds)
