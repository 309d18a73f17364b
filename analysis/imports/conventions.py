"""What a published compute number counts, and how many training FLOPs that is.

Training FLOPs here are model FLOPs: 2 per multiply-add, a backward pass of twice the forward pass, nothing recomputed
and nothing locked. The same tower is "4.6" in GMACs and "9.2" in GFLOPs, forward, per image of ViT-S/16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

FLOPS_PER_MAC = 2
TRAIN_PER_FORWARD = 3  # backward is twice the forward


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ComputeConvention:
    """A way to count compute."""

    counted: str  # "forward MACs"
    factor: int  # training FLOPs per operation counted
    size: float  # operations per unit of the number: 1e9 for giga

    @property
    def train_flops(self) -> float:
        """Training FLOPs per unit of the number."""
        return self.factor * self.size

    @property
    def label(self) -> str:
        """For axes and tables: "training FLOPs = 6 x forward MACs"."""
        return (
            f"training FLOPs = {self.factor} x {self.counted}"
            if self.factor > 1
            else "training FLOPs as imported"
        )


CONVENTIONS: Mapping[str, ComputeConvention] = MappingProxyType(
    {
        f"{phase}_{prefix}{operation.lower()}": ComputeConvention(
            counted=f"{word} {operation}", factor=per_phase * flops, size=size
        )
        for phase, word, per_phase in (("forward", "forward", TRAIN_PER_FORWARD), ("train", "training", 1))
        for operation, flops in (("FLOPs", 1), ("MACs", FLOPS_PER_MAC))
        for prefix, size in (("", 1.0), ("g", 1e9))
    }
)
