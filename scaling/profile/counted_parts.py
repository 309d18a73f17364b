"""What counters are compared on: a part of a model, its forward pass and the ways to train it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BATCH = 2  # samples of a training pass: as many as a batch norm wants
IMAGE_SIZE, CONTEXT_LENGTH, VOCABULARY_SIZE = 224, 77, 49_408  # the recipe's, see scaling/sweep/science.py

REASONS = {
    "a": "fvcore and DeepSpeed's profiler count no backward pass",
    "b": "hardware FLOPs: blocks are computed again in backward, up to the last result that backward reads",
    "c": "the results of all products are kept, so that none is computed again",
    "d": "hardware FLOPs: fused attention computes its scores again in backward",
    "e": "hardware FLOPs: the logits are computed again in backward",
}
"""Why columns of the table of counters differ or are empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A way of training a part: what its closed forms say, per sample, and how to count it by torch's dispatcher."""

    name: str
    model_flops: int
    hardware_flops: int
    reasons: str  # keys of REASONS: why the two differ, and what cannot count them
    count: Callable[[], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """A module without memory, the shape of one sample on the meta device, and the closed form."""

    build: Callable[[], nn.Module]
    sample: Tensor
    flops: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What is counted together."""

    name: str
    forward: Forward | None  # None: its parts are counted one by one
    ways: tuple[Way, ...]


def on_meta(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The same without memory."""

    def built() -> nn.Module:
        with torch.device("meta"):
            return build()

    return built
