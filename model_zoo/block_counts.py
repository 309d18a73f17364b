"""Parameters and FLOPs of a tower and of its blocks, and the FLOPs that activation checkpointing repeats.  No torch."""

from __future__ import annotations

from dataclasses import dataclass

from model_zoo.activation_segments import ActivationCheckpointing


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockCount:
    """One of a tower's repeated blocks."""

    parameters: int
    forward_flops: int  # per sample
    recomputed_flops: int  # per sample, when backward recomputes the block

    @classmethod
    def of(cls, *, parameters: int, forward_flops: int, needless_flops: int = 0) -> BlockCount:
        """A block whose recomputation skips `needless_flops` at its end.

        torch's checkpoint stops a recomputation as soon as it has everything that backward reads (early_stop).
        Backward does not read the output of a block's last product, which is only added to the residual stream, unless
        stochastic depth or a scale follows it.
        """
        return cls(
            parameters=parameters,
            forward_flops=forward_flops,
            recomputed_flops=forward_flops - needless_flops,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerCount:
    """Parameters and FLOPs of one tower."""

    parameters: int
    forward_flops: int  # per sample
    # the part of forward_flops in the layer that sees the pixels, which need no gradient
    pixel_flops: int = 0
    score_flops: int = 0  # the part of forward_flops in products of queries and keys
    blocks: tuple[BlockCount, ...] = ()

    @property
    def train_flops(self) -> int:
        """FLOPs of forward and backward: in backward every product costs one more per factor that needs a gradient."""
        return 3 * self.forward_flops - self.pixel_flops

    def recomputed_flops(self, mode: ActivationCheckpointing, every: int) -> int:
        """FLOPs that backward recomputes when blocks 0, `every`, 2 x `every`, ... are checkpointed.

        0 in mode "operations", which keeps the results of all products: what it recomputes is elementwise.
        """
        if mode in ("none", "operations"):
            return 0
        return sum(block.recomputed_flops for block in self.blocks[::every])
