"""How long steps take, without waiting for the device."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

import torch

PERCENTILES = (50, 90, 99)


class StepTimes(Protocol):
    """Times the steps between `start` and each `step_done`."""

    def start(self) -> None:
        """A step begins now, for the first time or after a pause."""
        ...

    def step_done(self) -> None:
        """A step ended here and the next one begins."""
        ...

    def take(self) -> list[float]:
        """Seconds of each step whose time is known and was not taken before."""
        ...

    def is_idle(self) -> bool:
        """Whether the device has finished all steps that were asked of it."""
        ...


def step_times(device: torch.device) -> StepTimes:
    """A timer for steps on this device."""
    return DeviceStepTimes() if device.type == "cuda" else HostStepTimes()


class HostStepTimes:
    """For devices that compute while they are asked to: the clock on the wall."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._seconds: list[float] = []

    def start(self) -> None:
        self._began = time.perf_counter()

    def step_done(self) -> None:
        now = time.perf_counter()
        self._seconds.append(now - self._began)
        self._began = now

    def take(self) -> list[float]:
        seconds, self._seconds = self._seconds, []
        return seconds

    def is_idle(self) -> bool:
        return True


class DeviceStepTimes:
    """For CUDA: events in the stream. They are asked whether they have passed, and never waited for: the time of a
    step that still runs is taken with the next interval."""

    def __init__(self) -> None:
        self._began = _event()
        self._steps: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._last: torch.cuda.Event | None = None

    def start(self) -> None:
        self._began = _event()

    def step_done(self) -> None:
        ended = _event()
        self._steps.append((self._began, ended))
        self._began = self._last = ended

    def take(self) -> list[float]:
        num_known = next(
            (index for index, (_, ended) in enumerate(self._steps) if not _has_passed(ended)),
            len(self._steps),
        )
        known, self._steps = self._steps[:num_known], self._steps[num_known:]
        return [began.elapsed_time(ended) / 1000 for began, ended in known]  # CUDA says milliseconds

    def is_idle(self) -> bool:
        return self._last is None or _has_passed(self._last)


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _has_passed(event: torch.cuda.Event) -> bool:
    return bool(event.query())  # type: ignore[no-untyped-call]


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The smallest of the times that so many percent do not exceed, as "p50", "p90", "p99"; {} for no times."""
    ordered = sorted(seconds)
    return {f"p{p}": ordered[math.ceil(p / 100 * len(ordered)) - 1] for p in PERCENTILES if ordered}
