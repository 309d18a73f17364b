"""FLOPs and memory traffic of AdamW's optimizer step, in closed form.  No torch.

The step is elementwise: neither model nor hardware FLOPs include it, and memory bandwidth decides its time.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_zoo.activation_segments import FP32

FLOPS_PER_PARAMETER = 18
"""Of torch's fused kernel (aten/src/ATen/native/cuda/fused_adam_utils.cuh, torch 2.15): decay 3, first moment 4, second
moment 5, denominator 3, update 3; a fused multiply-add is two, and divisions and roots are one."""

BYTES_PER_PARAMETER = (4 + 3) * FP32
"""Weight, gradient and both moments are read, all but the gradient written; all are float32 in every precision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerStep:
    """The cost of one step on the rank that takes it."""

    flops: int
    memory_bytes: int  # read and written


def count_adamw(num_parameters: int, *, clips: bool, copies_weights: bool) -> OptimizerStep:
    """The cost of a step over `num_parameters` trained parameters, with the gradient norm, which is always computed.

    `clips`: gradients are scaled.  `copies_weights`: the step updates master weights and copies them into the weights
    that the model computes with, as in DeepSpeed's ZeRO.
    """
    flops = FLOPS_PER_PARAMETER + 2 + clips  # norm: a square and a sum
    moved = BYTES_PER_PARAMETER + FP32 + 2 * FP32 * (clips + copies_weights)
    return OptimizerStep(flops=flops * num_parameters, memory_bytes=moved * num_parameters)
