"""What one segment of a tower (a block, or what stands between blocks) holds in memory, as plain numbers: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ActivationCheckpointing = Literal["none", "blocks", "operations", "offload"]
"""What a block keeps from forward to backward; backward recomputes the rest.  none: everything.  blocks: its input.
operations: its input and the outputs of its matrix products, convolutions and attention, which are most of its work.
offload: its input, in the CPU's memory; the copy runs while the GPU computes."""

FP32 = 4  # bytes of an element


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """The precision a run computes in, and on which kind of device."""

    bf16_autocast: bool
    on_accelerator: bool = True

    @property
    def product_bytes(self) -> int:
        """Bytes of an element that a matrix product or convolution takes or gives."""
        return 2 if self.bf16_autocast else FP32

    @property
    def norm_bytes(self) -> int:
        """Bytes of an element that a LayerNorm keeps of its input: CUDA's autocast widens it, a CPU's does not."""
        return FP32 if self.on_accelerator else self.product_bytes

    def copied_weights(self, elements: int) -> int:
        """Bytes of the bfloat16 copies of `elements` weights that autocast makes; 0 in float32."""
        return elements * self.product_bytes if self.bf16_autocast else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Bytes of one segment: per sample, except for the last three fields."""

    is_block: bool  # whether activation checkpointing may recompute it
    input: int = 0  # its input
    keeps_input: bool = True  # whether `kept` includes it
    kept: int  # from forward to backward when nothing is recomputed
    operations: int = 0  # likewise in mode "operations": its input, the outputs of products and attention
    forward: int  # at the largest moment of a forward pass that keeps nothing, its input included
    backward: int  # of gradients, at the largest moment of its backward pass; `kept` comes on top
    weights: int  # of the copies of its weights in the precision of products
    weight_gradient: int  # of one weight's gradient in the precision of products, at that largest moment
    parameters: int  # elements, not bytes

    def kept_by(self, mode: ActivationCheckpointing) -> int:
        """Bytes it keeps on the device from forward to backward under a checkpointing mode."""
        if mode == "none" or not self.is_block:
            return self.kept
        return {"blocks": self.input, "operations": self.operations, "offload": 0}[mode]

    @property
    def recomputed(self) -> int:
        """Bytes it holds once backward has recomputed it, its input included."""
        return self.kept if self.keeps_input else self.kept + self.input
