"""Activation checkpointing: blocks of a tower keep less for the backward pass and recompute the rest in it.

The three modes (see ActivationCheckpointing) trade memory for time (arXiv 1604.06174).  None changes a loss, a gradient
or a name: random draws are replayed, and GroupedBatchNorm counts every group of samples once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from model_zoo.activation_segments import ActivationCheckpointing
from model_zoo.blocks import tower_blocks
from model_zoo.kept_operations import KEPT_OPERATIONS, keep_operations


def checkpoint_activations(tower: nn.Module, mode: ActivationCheckpointing, *, every: int = 1) -> None:
    """Make blocks 0, `every`, 2 x `every`, ... of the tower recompute in `mode`; weights and names stay as they are.

    ValueError for `every` below 1.
    """
    if every < 1:
        raise ValueError(
            f"activation_checkpointing_every ({every}) must be at least 1: 1 recomputes every block."
        )
    if mode == "none":
        return
    for block in tower_blocks(tower)[::every]:
        block.__class__ = _recomputing(type(block), mode)


class _RecomputingBlock(nn.Module):
    """Mixed into a block's class: the block keeps only its input.

    The checkpoint sits inside `forward`, not around the call of the module, so that the hooks by which engines gather
    sharded weights run once per pass.  It is part of the class, not an attribute of the block, so that a copy of the
    block recomputes with its own weights.
    """

    def forward(self, *inputs: Any) -> Any:
        return checkpoint(super().forward, *inputs, use_reentrant=False)


class _KeepingOperations(nn.Module):
    """Likewise: the block keeps its input and the outputs of KEPT_OPERATIONS."""

    def forward(self, *inputs: Any) -> Any:
        contexts = _compiled_contexts if torch.compiler.is_compiling() else keep_operations
        return checkpoint(super().forward, *inputs, use_reentrant=False, context_fn=contexts)


class _OffloadingInput(nn.Module):
    """Likewise: the block keeps its input in the CPU's memory."""

    block_class: type[nn.Module]
    compiles = False

    def forward(self, *inputs: Any) -> Any:
        run = _compiled_forward(self.block_class) if self.compiles else self.block_class.forward
        with save_on_cpu(pin_memory=torch.cuda.is_available()):
            # checkpoint drops the block's own saved tensors before these hooks see them: only its input is moved
            return checkpoint(run, self, *inputs, use_reentrant=False)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile only the recomputed forward: torch.compile cannot trace hooks on saved tensors."""
        self.compiles = True


_MIXINS: dict[str, type[nn.Module]] = {
    "blocks": _RecomputingBlock,
    "operations": _KeepingOperations,
    "offload": _OffloadingInput,
}


_compiled_contexts = functools.partial(create_selective_checkpoint_contexts, KEPT_OPERATIONS)
"""torch's own contexts, for compiled blocks alone; kept_operations.py says why eager blocks cannot use them."""


_CLASSES: dict[tuple[type[nn.Module], str], type[nn.Module]] = {}
"""One recomputing class per class of blocks and mode, so that torch.compile compiles equal blocks once."""


def _recomputing(block: type[nn.Module], mode: str) -> type[nn.Module]:
    if (block, mode) not in _CLASSES:
        mixin = _MIXINS[mode]
        name = f"{mixin.__name__.strip('_')}{block.__name__}"
        _CLASSES[block, mode] = type(name, (mixin, block), {"block_class": block})
    return _CLASSES[block, mode]


_COMPILED: dict[type[nn.Module], Callable[..., Any]] = {}


def _compiled_forward(block: type[nn.Module]) -> Callable[..., Any]:
    """The compiled forward of a class, called with the block: a copy of a block then runs with its own weights."""
    if block not in _COMPILED:
        _COMPILED[block] = torch.compile(block.forward, dynamic=False)
    return _COMPILED[block]
