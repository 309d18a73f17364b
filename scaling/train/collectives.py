"""Sums, means and maxima over all ranks; with one rank, or without a process group, a rank's own values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor


def reduce_in_place(tensor: Tensor, operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> None:
    """Replace a tensor by its sum (or another reduction) over the ranks, on every rank."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(tensor, op=operation)


def start_sum(tensor: Tensor) -> dist.Work | None:
    """Begin to replace a tensor by its sum over the ranks; it holds that after `wait` (None: it does already)."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        return dist.all_reduce(tensor, async_op=True)
    return None


def start_max(tensor: Tensor) -> dist.Work | None:
    """Likewise by the largest over the ranks, element by element."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        return dist.all_reduce(tensor, op=dist.ReduceOp.MAX, async_op=True)
    return None


def mean_over_ranks(values_N: Tensor) -> list[float]:
    """The mean over all ranks of each of N numbers."""
    totals_N = values_N.detach().clone().float()
    reduce_in_place(totals_N)
    means: list[float] = (totals_N / (dist.get_world_size() if dist.is_initialized() else 1)).tolist()
    return means


def sum_over_ranks(value: int, device: torch.device) -> int:
    """The sum of a whole number over all ranks."""
    total = torch.tensor(value, dtype=torch.int64, device=device)
    reduce_in_place(total)
    return int(total)


def sum_counts_over_ranks(counts: Mapping[str, int]) -> Counter[str]:
    """The sum over all ranks of what each counted under any names."""
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return Counter(counts)
    of_ranks: list[Mapping[str, int]] = [{}] * dist.get_world_size()
    dist.all_gather_object(of_ranks, dict(counts))
    return sum((Counter(part) for part in of_ranks), Counter())


def max_over_ranks(value: int, device: torch.device) -> int:
    """The largest of a whole number over all ranks."""
    largest = torch.tensor(value, dtype=torch.int64, device=device)
    reduce_in_place(largest, dist.ReduceOp.MAX)
    return int(largest)
