"""What an optimizer step of AdamW takes, in closed form.  No torch.

Elementwise work: it is in neither model nor hardware FLOPs, and memory bandwidth decides its time.
"""

from __future__ import annotations

from dataclasses import dataclass

FP32 = 4  # bytes of a weight, a gradient and each moment, in every precision of ours

FLOPS_PER_PARAMETER = 18
"""Of torch's fused kernel (aten/src/ATen/native/cuda/fused_adam_utils.cuh, torch 2.15): decay 3, first moment 4, second
moment 5, denominator 3, update 3; a fused multiply-add is two, and divisions and roots are one."""

BYTES_PER_PARAMETER = (4 + 3) * FP32
"""Weight, gradient and both moments are read; all but the gradient are written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerStep:
    """What one step takes on the rank that makes it."""

    flops: int
    memory_bytes: int  # read and written


def count_adamw(num_parameters: int, *, clips: bool, copies_weights: bool) -> OptimizerStep:
    """Of a step over `num_parameters` trained parameters, the gradient's norm, which is always taken, included.

    `clips`: gradients are scaled.  `copies_weights`: the stepped weights are copies of those that are computed with,
    as in DeepSpeed's ZeRO.
    """
    flops = FLOPS_PER_PARAMETER + 2 + clips  # norm: a square and a sum
    moved = BYTES_PER_PARAMETER + FP32 + 2 * FP32 * (clips + copies_weights)
    return OptimizerStep(flops=flops * num_parameters, memory_bytes=moved * num_parameters)
