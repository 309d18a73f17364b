"""Memory in the course of a step, by class, from every allocation and release that torch reports."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._profiler import _EventType
from torch.profiler import profile, record_function

from scaling.profile.machine import local_part
from scaling.profile.observed_engine import PHASE
from scaling.train.engines.protocol import Engine

CLASSES = ("parameters", "optimizer_states", "gradients", "activations", "temporaries")
GRADIENT = "gradient at: "  # begins a mark in the trace: the address follows
MOMENTS = 400  # of a timeline, at most: more than a figure has pixels for


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MemoryMoment:
    """Bytes by class at one moment of a step."""

    seconds: float  # since the step began
    bytes_by_class: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.bytes_by_class.values())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MemoryTimeline:
    """The memory of one step."""

    moments: list[MemoryMoment]

    @property
    def peak(self) -> MemoryMoment:
        """The moment at which most is held."""
        return max(self.moments, key=lambda moment: moment.total)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """An allocation (positive) or a release of memory."""

    at_ns: int
    address: int
    size: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A stretch of time with a name: a phase, or the moment of a mark."""

    name: str
    begin_ns: int
    end_ns: int


@contextlib.contextmanager
def marking_gradients(objective: nn.Module) -> Iterator[None]:
    """The address of every gradient is marked in the trace as it is accumulated."""
    trained = [each for each in objective.parameters() if each.requires_grad]
    handles = [each.register_post_accumulate_grad_hook(_mark) for each in trained]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mark(parameter: Tensor) -> None:
    if parameter.grad is not None:
        with record_function(f"{GRADIENT}{local_part(parameter.grad).untyped_storage().data_ptr()}"):
            pass


def standing_bytes(engine: Engine) -> dict[str, int]:
    """Bytes that stay from step to step: weights (with an engine's own copies) and AdamW's moments, on the device."""
    pieces, objective = engine.pieces(), engine.objective
    weights = [*objective.parameters(), *objective.buffers()]
    weights += [piece.values for piece in pieces if piece.kind in ("weight", "buffer")]
    moments = [piece.values for piece in pieces if piece.kind in ("exp_avg", "exp_avg_sq")]
    return {
        "parameters": _bytes_of_storages(weights, engine.device),
        "optimizer_states": _bytes_of_storages(moments, engine.device),
    }


def _bytes_of_storages(tensors: Iterable[Tensor], device: torch.device) -> int:
    storages = [local_part(tensor).untyped_storage() for tensor in tensors if tensor.device == device]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def read_timeline(profiler: profile, standing: dict[str, int], device: torch.device) -> MemoryTimeline:
    """The timeline of a step that `profiler` followed with profile_memory, `standing` bytes beneath it."""
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    changes, spans = [], []
    for event in _walk(profiler.profiler.kineto_results.experimental_event_tree()):
        if event.tag == _EventType.Allocation:
            fields = event.extra_fields
            if fields.device.type == device.type:
                changes.append(Change(at_ns=event.start_time_ns, address=fields.ptr, size=fields.alloc_size))
        elif event.name.startswith((PHASE, GRADIENT)):
            spans.append(Span(name=event.name, begin_ns=event.start_time_ns, end_ns=event.end_time_ns))
    return timeline_of(changes, spans, standing)


def timeline_of(changes: Sequence[Change], spans: Sequence[Span], standing: dict[str, int]) -> MemoryTimeline:
    """The memory in the course of the changes.

    A gradient is what a mark names while it is there; an activation is what a forward pass allocates and leaves behind;
    all else that comes is temporary: results in passing, recomputed activations, buckets, workspaces. What was there
    before and is released is left out, as it was never counted.
    """
    ordered = sorted(changes, key=lambda change: change.at_ns)
    classes = _classes(ordered, spans)
    held = {name: standing.get(name, 0) for name in CLASSES}
    began = ordered[0].at_ns if ordered else 0
    moments = [MemoryMoment(seconds=0.0, bytes_by_class=dict(held))]
    for change, name in zip(ordered, classes, strict=True):
        if name is not None:
            held[name] += change.size
            moments.append(MemoryMoment(seconds=(change.at_ns - began) / 1e9, bytes_by_class=dict(held)))
    return MemoryTimeline(moments=_thinned(moments))


@dataclasses.dataclass(slots=True)
class _Life:
    """One allocation from its change to the change that releases it."""

    address: int
    begin: int  # index of a change
    end: int
    begin_ns: int
    end_ns: float


def _classes(changes: Sequence[Change], spans: Sequence[Span]) -> list[str | None]:
    """The class of each change; None for the release of what was allocated before the first."""
    found: list[str | None] = [None] * len(changes)
    marks: dict[int, list[int]] = {}
    for span in spans:
        if span.name.startswith(GRADIENT):
            marks.setdefault(int(span.name.removeprefix(GRADIENT)), []).append(span.begin_ns)
    forwards = [span for span in spans if span.name == f"{PHASE}forward"]
    for life in _lives(changes):
        name = _class_of(life, marks.get(life.address, []), forwards)
        found[life.begin] = name
        if life.end < len(changes):
            found[life.end] = name
    return found


def _lives(changes: Sequence[Change]) -> Iterator[_Life]:
    open_lives: dict[int, _Life] = {}
    for index, change in enumerate(changes):
        if change.size > 0:
            life = _Life(change.address, index, len(changes), change.at_ns, float("inf"))
            open_lives[change.address] = life
        elif change.address in open_lives:
            life = open_lives.pop(change.address)
            life.end, life.end_ns = index, change.at_ns
            yield life
    yield from open_lives.values()


def _class_of(life: _Life, marks_ns: Sequence[int], forwards: Sequence[Span]) -> str:
    if any(life.begin_ns <= mark_ns <= life.end_ns for mark_ns in marks_ns):
        return "gradients"
    for span in forwards:
        if span.begin_ns <= life.begin_ns <= span.end_ns:
            return "activations" if life.end_ns > span.end_ns else "temporaries"
    return "temporaries"


def _thinned(moments: Sequence[MemoryMoment]) -> list[MemoryMoment]:
    """At most MOMENTS of them: of neighbours the one at which most is held; the first and the last stay."""
    if len(moments) <= MOMENTS:
        return list(moments)
    inner, number = moments[1:-1], MOMENTS - 2
    cuts = [round(index * len(inner) / number) for index in range(number + 1)]
    largest = [
        max(inner[begin:end], key=lambda moment: moment.total)
        for begin, end in zip(cuts, cuts[1:], strict=False)
        if end > begin
    ]
    return [moments[0], *largest, moments[-1]]


def _walk(events: Sequence[Any]) -> Iterator[Any]:
    for event in events:
        yield event
        yield from _walk(event.children)
