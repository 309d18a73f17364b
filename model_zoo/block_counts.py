"""What a tower takes, block by block, and what activation checkpointing makes of it twice.  No torch."""

from __future__ import annotations

from dataclasses import dataclass

from model_zoo.activation_segments import CheckpointingMode


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockCount:
    """One of a tower's repeated blocks."""

    parameters: int
    forward_flops: int  # per sample
    recomputed_flops: int  # of them, when backward makes the block again

    @classmethod
    def of(cls, *, parameters: int, forward_flops: int, needless_flops: int = 0) -> BlockCount:
        """A block whose recomputation stops before its last product, of `needless_flops`, if nothing needs its result.

        torch's checkpoint ends a recomputation as soon as it has everything that backward reads (early_stop).  The
        sum of a block's last product and the residual is not among that, unless stochastic depth draws behind it.
        """
        return cls(
            parameters=parameters,
            forward_flops=forward_flops,
            recomputed_flops=forward_flops - needless_flops,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerCount:
    """What one tower takes."""

    parameters: int
    forward_flops: int  # per sample
    pixel_flops: int = 0  # the part of them in the layer that sees the pixels, which need no gradient
    score_flops: int = 0  # the part of them in products of queries and keys, over all attention
    blocks: tuple[BlockCount, ...] = ()

    @property
    def train_flops(self) -> int:
        """Forward and backward: every product costs two more backward, one per factor that needs a gradient."""
        return 3 * self.forward_flops - self.pixel_flops

    def recomputed_flops(self, mode: CheckpointingMode, every: int) -> int:
        """What backward makes again with one block of each `every` checkpointed, the first.

        Mode "operations" keeps the results of all products: what it makes again counts as none.
        """
        if mode in ("none", "operations"):
            return 0
        return sum(block.recomputed_flops for block in self.blocks[::every])
