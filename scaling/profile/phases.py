"""Where a step goes: seconds of data wait, forward, backward, optimizer and communication, from a profiler's trace."""

from __future__ import annotations

from collections.abc import Sequence

from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import profile

from scaling.profile.observed_engine import PHASE

PHASES = ("data wait", "forward", "backward", "optimizer", "communication", "other")
COLLECTIVES = ("c10d::", "record_param_comms")  # begin the names of collectives


def seconds_by_phase(profiler: profile) -> dict[str, float]:
    """Seconds of a step by phase; collectives are taken out of the phase that called them."""
    found = dict.fromkeys(PHASES, 0.0)
    events = profiler.events() or []  # type: ignore[no-untyped-call]
    phases = [event for event in events if event.name.startswith(PHASE)]
    phases = [event for event in phases if event.device_type == DeviceType.CPU]
    collectives = _outermost([event for event in events if event.name.startswith(COLLECTIVES)])
    whole = 0.0
    for event in phases:
        name = event.name.removeprefix(PHASE)
        within = sum(_seconds(each) for each in collectives if _contains(event, each))
        if name == "step":
            whole += _seconds(event)
            found["communication"] += within
        else:
            found[name] += _seconds(event) - within
    found["other"] = max(0.0, whole - sum(found.values()))
    return found


def _outermost(events: Sequence[FunctionEvent]) -> list[FunctionEvent]:
    return [
        event
        for event in events
        if not any(_contains(other, event) for other in events if other is not event)
    ]


def _contains(outer: FunctionEvent, inner: FunctionEvent) -> bool:
    """Whether the same thread did the inner in the course of the outer."""
    if outer.thread != inner.thread or outer.device_type != inner.device_type:
        return False
    spans = outer.time_range, inner.time_range
    return bool(spans[0].start <= spans[1].start and spans[1].end <= spans[0].end)


def _seconds(event: FunctionEvent) -> float:
    return float(event.time_range.end - event.time_range.start) / 1e6
