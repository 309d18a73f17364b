"""The table of FLOP counters: our closed forms beside three independent counters.

Model FLOPs are what plans and plots count; hardware FLOPs add what a device computes besides (hardware_counts.py).
Every counter must find the hardware FLOPs of its row: those of a forward pass of one sample, or of forward and
backward of a few, in the way of computing that the row names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from scaling.profile.counted_objectives import counted_objectives
from scaling.profile.counted_parts import REASONS, Forward, Part
from scaling.profile.counted_towers import counted_towers
from scaling.profile.flops import count_dispatched, count_with_deepspeed, count_with_fvcore, without_memory

LARGEST_DIFFERENCE = 0.005
"""Between any counter and the closed form, relative: what `scaling profile --counters` tolerates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CounterRow:
    """FLOPs per sample of one part of a model, by every counter."""

    part: str  # an image or text tower, or an objective on an image tower
    computation: str  # "forward", or "train" and in which way
    model_flops: int
    hardware_flops: int
    dispatched: int  # torch's FlopCounterMode
    fvcore: int | None  # None: it cannot count this
    deepspeed: int | None
    reasons: str  # keys of counted_parts.REASONS: why columns differ, or are empty

    @property
    def largest_difference(self) -> float:
        """The largest relative difference of a counter from our hardware FLOPs."""
        counted = [flops for flops in (self.dispatched, self.fvcore, self.deepspeed) if flops is not None]
        return max(abs(flops / self.hardware_flops - 1) for flops in counted)

    @property
    def agrees(self) -> bool:
        """Whether all counters are within LARGEST_DIFFERENCE."""
        return self.largest_difference <= LARGEST_DIFFERENCE


def counted_parts() -> list[Part]:
    """All that `scaling profile --counters` counts: towers, the classification head, objectives."""
    return [*counted_towers(), *counted_objectives()]


def counter_table(parts: Sequence[Part] | None = None) -> list[CounterRow]:
    """Rows of these parts, all by default: forward first, then every way of training."""
    return [row for part in (counted_parts() if parts is None else parts) for row in _rows_of(part)]


def print_counters(console: Console) -> int:
    """Count everything and print the table; the exit status: 1 where two counters differ by more than 0.5 %, else 0."""
    parts = counted_parts()
    with Progress(console=console, transient=True) as progress:
        counting = progress.add_task("counting FLOPs", total=len(parts))
        rows: list[CounterRow] = []
        for part in parts:
            progress.update(counting, description=f"counting FLOPs of {part.name}")
            rows += _rows_of(part)
            progress.advance(counting)
    console.print(_as_table(rows))
    disagreeing = [f"{row.part} ({row.computation})" for row in rows if not row.agrees]
    if disagreeing:
        console.print(f"Counters differ by more than {LARGEST_DIFFERENCE:.1%}: {', '.join(disagreeing)}.")
        return 1
    worst = max(row.largest_difference for row in rows)
    console.print(
        f"All counters agree: the largest difference is {worst:.3%} (limit {LARGEST_DIFFERENCE:.1%})."
    )
    return 0


def _rows_of(part: Part) -> Iterator[CounterRow]:
    if part.forward is not None:
        yield _forward_row(part.name, part.forward)
    for way in part.ways:
        yield CounterRow(
            part=part.name,
            computation=f"train, {way.name}" if way.name else "train",
            model_flops=way.model_flops,
            hardware_flops=way.hardware_flops,
            dispatched=way.count(),
            fvcore=None,
            deepspeed=None,
            reasons=way.reasons,
        )


def _forward_row(name: str, forward: Forward) -> CounterRow:
    module = forward.build().eval()
    with torch.no_grad():
        dispatched = count_dispatched(lambda: module(forward.sample))
        with without_memory(module) as on_cpu:
            sample = torch.zeros(forward.sample.shape, dtype=forward.sample.dtype)
            fvcore, deepspeed = count_with_fvcore(on_cpu, sample), count_with_deepspeed(on_cpu, sample)
    return CounterRow(
        part=name,
        computation="forward",
        model_flops=forward.flops,
        hardware_flops=forward.flops,
        dispatched=dispatched,
        fvcore=fvcore,
        deepspeed=deepspeed,
        reasons="",
    )


def _as_table(rows: Sequence[CounterRow]) -> Table:
    """At most 100 columns wide."""
    title = "GFLOPs per sample: 2 x multiply-adds of matrix products and convolutions"
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("part", "computation"):
        table.add_column(column, no_wrap=True)
    for column in (
        "model\nFLOPs",
        "hardware\nFLOPs",
        "torch",
        "fvcore\nx 2",
        "DeepSpeed\nMACs x 2",
        "off by",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("why", no_wrap=True)
    told = ""
    for row in rows:
        counted = (row.model_flops, row.hardware_flops, row.dispatched, row.fvcore, row.deepspeed)
        cells = ("" if flops is None else _giga(flops) for flops in counted)
        name, told = row.part if row.part != told else "", row.part
        off_by = f"{row.largest_difference:.2%}"
        table.add_row(name, row.computation, *cells, off_by, row.reasons, style="" if row.agrees else "red")
    used = [key for key in REASONS if any(key in row.reasons for row in rows)]
    table.caption = "\n".join(f"{key}: {REASONS[key]}" for key in used)
    table.caption_justify = "left"
    return table


def _giga(flops: int) -> str:
    """Billions in at most seven characters."""
    return f"{flops / 1e9:,.{1 if flops >= 1e11 else 3}f}"
