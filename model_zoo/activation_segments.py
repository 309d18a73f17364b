"""What one segment of a tower holds in memory, as plain numbers: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckpointingMode = Literal["none", "blocks", "operations", "offload"]  # see activation_checkpointing.py

IMAGE_CHANNELS = 3
FP32 = 4  # bytes of an element


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """In what elements a run computes, and where."""

    bf16_autocast: bool
    on_accelerator: bool = True

    @property
    def product_bytes(self) -> int:
        """Of an element that a matrix product or convolution takes or gives."""
        return 2 if self.bf16_autocast else FP32

    @property
    def norm_bytes(self) -> int:
        """Of an element that a LayerNorm keeps of products: CUDA's autocast widens it first, a CPU's does not."""
        return FP32 if self.on_accelerator else self.product_bytes

    def copied_weights(self, elements: int) -> int:
        """Bytes of the copies of weights in the precision of products; none where that is the weights' own."""
        return elements * self.product_bytes if self.bf16_autocast else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Bytes of one block, or of what stands between blocks; per sample but for weights and parameters."""

    is_block: bool  # whether activation checkpointing may recompute it
    input: int = 0  # what it is given
    keeps_input: bool = True  # whether `kept` includes it
    kept: int  # from forward to backward when nothing is recomputed
    operations: int = 0  # likewise of a block that keeps its input and the outputs of products and attention
    forward: int  # at the largest moment of a forward pass that keeps nothing, its input included
    backward: int  # at the largest moment of its backward pass, besides what is still kept: gradients
    weights: int  # of the copies of its weights in the precision of products
    weight_gradient: int  # of one weight's gradient in the precision of products, at that largest moment
    parameters: int  # elements

    def kept_by(self, mode: CheckpointingMode) -> int:
        """What it keeps from forward to backward, on the device, when a mode recomputes it."""
        if mode == "none" or not self.is_block:
            return self.kept
        return {"blocks": self.input, "operations": self.operations, "offload": 0}[mode]

    @property
    def recomputed(self) -> int:
        """What there is of it once backward has recomputed it, its input included."""
        return self.kept if self.keeps_input else self.kept + self.input
