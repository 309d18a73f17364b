"""Gathers the rows of all ranks on every rank, with gradients that flow back to the rank a row came from."""

# Shapes.  B samples of this rank, G samples of all ranks, E features.

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def num_ranks() -> int:
    """The number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_rank() -> int:
    """The index of this rank; 0 without a process group."""
    return dist.get_rank() if num_ranks() > 1 else 0


def gather_flags(flags_B: Tensor) -> Tensor:
    """The flags of all ranks, bool [G], rank by rank."""
    if num_ranks() == 1:
        return flags_B
    flags_G = flags_B.new_empty(num_ranks() * len(flags_B))
    dist.all_gather_into_tensor(flags_G, flags_B.contiguous())
    return flags_G


def gather_rows(rows_BE: Tensor) -> Tensor:
    """The rows of all ranks, [G, E], rank by rank; every rank must give as many rows.

    In the backward pass a rank's rows get the sum of the gradients of all ranks' losses, and engines then average
    gradients over the ranks.  Both kinds of loss come out right: one that every rank computes over the whole global
    batch, and one that every rank computes over its own rows, divided by its share of the global batch.
    """
    if num_ranks() == 1:
        return rows_BE
    rows_GE: Tensor = _GatherRows.apply(rows_BE)
    return rows_GE


class _GatherRows(torch.autograd.Function):
    """all_gather whose gradient returns to the rank each row came from.

    Ours, because `torch.distributed.nn.all_gather` is deprecated in torch 2.15 in favour of a private module.
    """

    @staticmethod
    def forward(ctx: Any, rows_BE: Tensor) -> Tensor:
        rows_GE = rows_BE.new_empty(num_ranks() * len(rows_BE), *rows_BE.shape[1:])
        dist.all_gather_into_tensor(rows_GE, rows_BE.contiguous())
        return rows_GE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_GE: Tensor) -> Tensor:
        upstream_BE = upstream_GE.new_empty(len(upstream_GE) // num_ranks(), *upstream_GE.shape[1:])
        dist.reduce_scatter_tensor(upstream_BE, upstream_GE.contiguous())
        return upstream_BE
