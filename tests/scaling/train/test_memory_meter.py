"""Memory by class: each storage counted once, gradients as the ZeRO stage shards them, the peak named by its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from metered import FakeEngine

from scaling.train import memory_meter
from scaling.train.engines.protocol import Piece
from scaling.train.memory_meter import memory_by_class, peak_memory_bytes, peak_memory_source

CPU = torch.device("cpu")


class Sharded(FakeEngine):
    """The second of two ranks of ZeRO 3: of the flat 16 trained weights it holds the last 8, nothing whole."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = torch.zeros(3, 8)
        for parameter in self.objective.parameters():
            parameter.data = torch.empty(0)

    def pieces(self) -> list[Piece]:
        pieces = []
        for row, kind in enumerate(("weight", "exp_avg", "exp_avg_sq")):
            for name, shape, start, stop in (("head.weight", (4, 3), 8, 12), ("head.bias", (4,), 0, 4)):
                first = 0 if name == "head.weight" else 4
                values = self.flat[row, first : first + stop - start]
                fields: dict[str, Any] = {"name": name, "kind": kind, "shape": shape, "start": start}
                pieces.append(Piece(**fields, values=values, is_mine=True))
        return pieces


def test_views_of_one_storage_are_counted_once_and_frozen_weights_have_no_gradient() -> None:
    memory = memory_by_class(FakeEngine(), zero_stage=1)
    assert memory.parameters == (12 + 4 + 16) * 4  # the pieces are views of the module's own
    assert memory.gradients == (12 + 4) * 4 and memory.optimizer_states == 2 * 16 * 4
    assert memory.on_host == 0


def test_a_shard_counts_with_its_part_only() -> None:
    memory = memory_by_class(Sharded(), zero_stage=3)
    assert memory.gradients == 8 * 4
    # though one buffer holds all three
    assert memory.parameters == 8 * 4 and memory.optimizer_states == 2 * 8 * 4


def test_offloaded_states_count_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = FakeEngine()
    engine.device = torch.device("meta")
    engine.objective.to(engine.device)  # pieces follow the module; moments stay on the CPU
    monkeypatch.setattr(memory_meter, "peak_memory_bytes", lambda device: 1_000)
    memory = memory_by_class(engine, zero_stage=1)
    assert memory.on_host == 2 * 16 * 4 and memory.optimizer_states == 0


def test_the_rest_of_the_peak_is_what_no_class_explains() -> None:
    memory = memory_by_class(FakeEngine(), zero_stage=0)
    numbers = memory.bytes_by_class()
    assert numbers["peak"] == sum(
        numbers[name] for name in ("parameters", "gradients", "optimizer_states", "rest")
    )


def test_the_peak_of_a_cpu_is_its_largest_resident_set() -> None:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    high_water = int(status["VmHWM"].split()[0]) * 1024
    assert abs(peak_memory_bytes(CPU) - high_water) <= 2**20  # the kernel counts it in batches of pages
    assert (
        peak_memory_source(CPU) == "resident set" and peak_memory_source(torch.device("cuda")) == "allocator"
    )
