"""Activation checkpointing: what the blocks of a tower do not keep for the backward pass, they compute again.

The three modes trade memory for time (arXiv 1604.06174). None changes a loss, a gradient or a name: random draws
are replayed, and GroupedBatchNorm counts no group twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from model_zoo.blocks import tower_blocks
from model_zoo.kept_operations import KEPT_OPERATIONS, keep_operations

ActivationCheckpointing = Literal["none", "blocks", "operations", "offload"]
"""blocks: a block keeps its input. operations: besides, the outputs of its matrix products, convolutions and attention,
which are most of its work. offload: a block keeps its input in the CPU's memory, on the way while the GPU computes."""


def checkpoint_activations(tower: nn.Module, mode: ActivationCheckpointing, *, every: int = 1) -> None:
    """Have the first block of each `every` of the tower recompute, by `mode`; weights and names stay as they are."""
    if every < 1:
        raise ValueError(f"activation_checkpointing_every ({every}) must be at least 1.")
    if mode == "none":
        return
    for block in tower_blocks(tower)[::every]:
        block.__class__ = _recomputing(type(block), mode)


class _RecomputingBlock(nn.Module):
    """A block that keeps its input alone.

    Inside of forward, not around the call: hooks by which engines gather sharded weights then run once per pass. A
    class and not an attribute, so that copies of the module recompute with their own weights.
    """

    def forward(self, *inputs: Any) -> Any:
        return checkpoint(super().forward, *inputs, use_reentrant=False)


class _KeepingOperations(nn.Module):
    def forward(self, *inputs: Any) -> Any:
        contexts = _compiled_contexts if torch.compiler.is_compiling() else keep_operations
        return checkpoint(super().forward, *inputs, use_reentrant=False, context_fn=contexts)


class _OffloadingInput(nn.Module):
    block_class: type[nn.Module]
    compiles = False

    def forward(self, *inputs: Any) -> Any:
        run = _compiled_forward(self.block_class) if self.compiles else self.block_class.forward
        with save_on_cpu(pin_memory=torch.cuda.is_available()):
            # checkpoint drops what the block itself saves before these hooks see it: its input alone is moved
            return checkpoint(run, self, *inputs, use_reentrant=False)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile what is recomputed alone: torch.compile does not take hooks on saved tensors."""
        self.compiles = True


_MIXINS: dict[str, type[nn.Module]] = {
    "blocks": _RecomputingBlock,
    "operations": _KeepingOperations,
    "offload": _OffloadingInput,
}


_compiled_contexts = functools.partial(create_selective_checkpoint_contexts, KEPT_OPERATIONS)
"""Which torch.compile understands; outside of it, see kept_operations.py."""


_CLASSES: dict[tuple[type[nn.Module], str], type[nn.Module]] = {}
"""One per class of blocks and mode, so that equal blocks stay equal to torch.compile."""


def _recomputing(block: type[nn.Module], mode: str) -> type[nn.Module]:
    if (block, mode) not in _CLASSES:
        mixin = _MIXINS[mode]
        name = f"{mixin.__name__.strip('_')}{block.__name__}"
        _CLASSES[block, mode] = type(name, (mixin, block), {"block_class": block})
    return _CLASSES[block, mode]


_COMPILED: dict[type[nn.Module], Callable[..., Any]] = {}


def _compiled_forward(block: type[nn.Module]) -> Callable[..., Any]:
    """Of the class, not of one block: a copy of a block then runs with its own weights."""
    if block not in _COMPILED:
        _COMPILED[block] = torch.compile(block.forward, dynamic=False)
    return _COMPILED[block]
