"""Seconds of a step against sums on paper: products, kernels, exchanges, the optimizer's memory, what is offloaded."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from scaling.hardware import ACCELERATORS, Accelerator, accelerator
from scaling.placement import Placement, PlacementSettings, place
from scaling.predicting.throughput import seconds_per_step
from scaling.predicting.workload import workload_of
from scaling.sweep.science import Science

H100 = accelerator("h100_sxm")
# parameters of ViT-S/16, as timm counts them without its head, and the norm before its blocks
TOWER = 21_666_048
HEAD = 2 * 384 + 385 * 49_408
SMALL = TOWER + HEAD


def a_point(
    num_ranks: int, *, batch: int = 16_384, clips: float = 0.0, **settings: Any
) -> tuple[Science, Placement]:
    point = Science(
        objective="superclass",
        image_tower="vit_s16",
        samples_seen=10**9,
        global_batch=batch,
        gradient_clipping=clips,
    )
    return point, place(
        point, PlacementSettings(num_workers=0, **settings), num_ranks=num_ranks, ranks_per_node=None
    )


def seconds(point: tuple[Science, Placement], device: Accelerator = H100) -> float:
    science, placement = point
    return seconds_per_step(workload_of(science), placement, device)


def with_memory(rate: float, device: Accelerator = H100) -> Accelerator:
    return dataclasses.replace(device, memory_bytes_per_second=rate)


def test_a_step_on_one_machine_takes_what_its_products_kernels_and_optimizer_take() -> None:
    """ViT-S/16: 12 blocks of 384 over 197 tokens, 196 patches of 16 x 16 pixels in three colours, 49,408 labels."""
    tokens, width = 197, 384
    block = 2 * tokens * 12 * width**2 + 2 * 2 * tokens**2 * width
    patches, logits = 2 * 196 * 3 * 16**2 * width, 2 * width * 49_408
    scores_again = 12 * 2 * tokens**2 * width  # fused attention
    per_sample = 3 * (12 * block + logits) + 2 * patches + scores_again
    products = 2048 * per_sample / (0.40 * 989.4e12)
    kernels = 8 * 12 * 60 * 5e-6  # of eight micro-batches of 256
    # seven numbers, the norm, the copy of weights that is read
    optimizer = SMALL / 8 * (28 + 4 + 8) / 3.35e12
    assert seconds(a_point(8)) == pytest.approx(products + kernels + optimizer, rel=1e-4)


def test_the_optimizer_takes_as_long_as_its_bytes_take_in_memory() -> None:
    alone = a_point(1, batch=256)
    slower = seconds(alone, with_memory(1e12)) - seconds(alone, with_memory(2e12))
    assert slower == pytest.approx(SMALL * 40 / 2e12, rel=1e-4)
    clipped = a_point(1, batch=256, clips=1.0)
    assert seconds(clipped) - seconds(alone) == pytest.approx(SMALL * 8 / 3.35e12, rel=1e-3)


def test_ranks_that_share_the_optimizer_states_share_its_time() -> None:
    slow, fast = with_memory(1e12), with_memory(2e12)
    shared = [seconds(a_point(ranks), slow) - seconds(a_point(ranks), fast) for ranks in (1, 8)]
    assert shared[0] == pytest.approx(8 * shared[1], rel=1e-4)


def test_what_is_offloaded_travels_to_the_cpu_and_is_stepped_there() -> None:
    kept, offloaded = a_point(1, zero_stage=2), a_point(1, zero_stage=2, offload="optimizer")
    travels, stepped = 2 * 4 * SMALL / 32e9, 40 * SMALL / 50e9
    assert seconds(offloaded) - seconds(kept) == pytest.approx(
        travels + stepped - 40 * SMALL / 3.35e12, rel=1e-4
    )


def test_a_cpu_offloads_within_its_own_memory() -> None:
    core = ACCELERATORS["cpu_core"]
    kept, offloaded = a_point(1, zero_stage=2), a_point(1, zero_stage=2, offload="optimizer")
    assert seconds(offloaded, core) - seconds(kept, core) == pytest.approx(8 * SMALL / 10e9, rel=1e-3)


def test_the_cards_of_a_machine_together_carry_what_one_of_its_ranks_sends() -> None:
    """Kernels take longer than this exchange, so that beside the computation it costs nothing."""
    after, beside = a_point(512, batch=512, overlap_communication=False), a_point(512, batch=512)
    # gradients all-reduced, weights gathered; counts of labels
    sent = (3 * 4 * SMALL + 2 * 8 * 49_409) * 511 / 512
    assert seconds(after) - seconds(beside) == pytest.approx(sent / (8 * 50e9), rel=1e-4)
