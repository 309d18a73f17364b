"""The part of a classification loss that reads the labels' logits, a few per sample, differentiated by autograd."""

# Shapes.  B samples, N labels of all samples together.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Positives:
    """The labels of `num_rows` samples.  Those whose row is `num_rows` belong to other samples and do not count."""

    logits_N: Tensor
    rows_N: Tensor
    ids_N: Tensor
    probabilities_N: Tensor  # of the target; sum 1 over a sample
    weights_N: Tensor  # probability x number of the sample's labels, so 1 where uniform; 0 in invalid rows
    num_rows: int

    def total(self, values_N: Tensor) -> Tensor:
        """Sum of `values_N` over the labels of each sample, [B]."""
        total_B = values_N.new_zeros(self.num_rows + 1).index_add(0, self.rows_N, values_N)
        return total_B[: self.num_rows]

    def logsumexp(self, values_N: Tensor) -> Tensor:
        """log sum exp `values_N` over the labels of each sample, [B]; `floor_of` its dtype without labels."""
        return logsumexp_at(values_N, self.rows_N, self.num_rows + 1)[: self.num_rows]


def floor_of(dtype: torch.dtype) -> float:
    """What stands for the log-sum-exp of no values: finite, also in base 2, so that sums and gradients are not NaN."""
    return torch.finfo(dtype).min / 2


def logsumexp_at(values_N: Tensor, index_N: Tensor, size: int) -> Tensor:
    """log sum exp of the values of each index, [size], with gradient; `floor_of` where there are none."""
    floor = floor_of(values_N.dtype)
    largest = values_N.new_full((size,), floor)
    largest = largest.scatter_reduce(0, index_N, values_N.detach(), "amax")
    sums = torch.zeros_like(largest).index_add(0, index_N, (values_N - largest[index_N]).exp())
    return (largest + sums.clamp_min(torch.finfo(sums.dtype).tiny).log()).clamp_min(floor)
