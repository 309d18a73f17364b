"""The blocks that towers repeat: what engines shard, torch.compile compiles and backward recomputes one at a time."""

from __future__ import annotations

from torch import nn

from model_zoo.batch_norm import GroupedBatchNorm


def tower_blocks(tower: nn.Module) -> list[nn.Module]:
    """The blocks of an image or text tower in the order they run."""
    blocks = getattr(tower, "blocks", None)
    if blocks is not None:  # a transformer
        return list(blocks)
    stages = getattr(tower, "stages", None)
    assert stages is not None, f"{type(tower)} has neither blocks nor stages"
    return [block for stage in stages for block in getattr(stage, "blocks", stage)]


def blocks_of(objective: nn.Module) -> list[nn.Module]:
    """The blocks of all towers of an objective."""
    towers = (getattr(objective, name, None) for name in ("image_tower", "text_tower"))
    return [block for tower in towers if tower is not None for block in tower_blocks(tower)]


def compile_blocks(objective: nn.Module) -> None:
    """Compile each block by torch.compile; equal blocks share compiled code, and names stay as they are.

    Blocks with a GroupedBatchNorm are left alone: it counts groups in Python, which a compiled graph would not repeat.
    """
    for block in blocks_of(objective):
        if not any(isinstance(part, GroupedBatchNorm) for part in block.modules()):
            block.compile(dynamic=False)  # towers differ in shape, micro-batches do not
