"""A block of a linear layer's logits: made, reduced, turned into its gradient in place, multiplied on."""

# Shapes.  B samples, D features, V vocabulary, N labels; R rows and C columns of a block or of a piece of it;
# S parts of a reduction.

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from model_zoo.huge_pages import in_huge_pages
from model_zoo.negatives import Negatives
from model_zoo.precision import at_least_fp32
from model_zoo.tiling import Tiling


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Operands:
    """What the logits are made of, and which of them are labels: (row, id) pairs."""

    features_BD: Tensor  # in the dtype of the products
    weight_VD: Tensor  # in any dtype: slices are converted as they are needed
    bias_V: Tensor  # in at least float32: added to the rounded products
    rows_N: Tensor
    ids_N: Tensor


def with_bias(logits_RC: Tensor, bias_C: Tensor) -> Tensor:
    """A copy in the dtype of the bias."""
    return logits_RC.to(bias_C.dtype, copy=True).add_(bias_C)


def reduce(negatives: Negatives, logits_RC: Tensor, bias_C: Tensor, dim: int) -> Tensor:
    """The statistic of each row (dim 1) or class (dim 0)."""
    return negatives.reduce(with_bias(logits_RC, bias_C), dim)


def differentiate(
    negatives: Negatives,
    logits_RC: Tensor,
    bias_C: Tensor,
    of_rows: tuple[Tensor, Tensor],
    of_classes: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """The logits become their gradient, in place; its sum over the rows, before rounding, [C].

    `of_rows`, `of_classes`: statistics and their gradients, [R, 1] and [C].
    """
    gradient_RC = negatives.derivative(with_bias(logits_RC, bias_C), of_rows[0]).mul_(of_rows[1])
    if of_classes is not None:
        gradient_RC += negatives.derivative(with_bias(logits_RC, bias_C), of_classes[0]).mul_(of_classes[1])
    logits_RC.copy_(gradient_RC)
    return gradient_RC.sum(0)


@cache
def fused(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same function as one compiled loop."""
    return torch.compile(function, dynamic=True)


class Block:
    """The logits of `rows` x `columns` without their bias, slice after slice in `memory`.

    Made in the constructor; then `take_labels`, statistics, `differentiate`, products, in this order.
    `memory` holds at least one element more than the block: the place of the labels that are elsewhere.
    """

    def __init__(
        self,
        operands: Operands,
        tiling: Tiling,
        rows: slice,
        columns: slice,
        memory: Tensor,
        *,
        compiled: bool,
    ) -> None:
        self.operands, self.rows, self.columns, self.memory = operands, rows, columns, memory
        self.num_rows, self.num_columns = rows.stop - rows.start, columns.stop - columns.start
        self.features_RD, self.bias_C = operands.features_BD[rows], operands.bias_V[columns]
        self.width = tiling.slice_columns
        self.height = max(1, tiling.piece_elements // self.width)
        self.reduce = fused(reduce) if compiled else reduce
        self.differentiate_ = fused(differentiate) if compiled else differentiate
        for own, logits_RC in self.slices():
            torch.mm(self.features_RD, self.weight(own).T, out=logits_RC)

    def slices(self) -> Iterator[tuple[slice, Tensor]]:
        """The columns of each slice, counted within the block, and its logits, [R, C]."""
        for start in range(0, self.num_columns, self.width):
            stop = min(start + self.width, self.num_columns)
            part = self.memory[start * self.num_rows : stop * self.num_rows]
            yield slice(start, stop), part.view(self.num_rows, stop - start)

    def weight(self, own: slice) -> Tensor:
        """The weight of columns of the block, in the dtype of the products, [C, D]."""
        weight_CD = self.operands.weight_VD[self.columns][own]
        return weight_CD.to(self.features_RD.dtype)

    def hide_rows(self, hidden_R: Tensor) -> None:
        """Logits of -inf in these rows."""
        for _, logits_RC in self.slices():
            logits_RC.masked_fill_(hidden_R[:, None], -torch.inf)

    def take_labels(self) -> tuple[Tensor, Tensor]:
        """The labels' logits, with bias, and rows, [N] each; -inf in their places.

        For labels that are not in the block: 0, and the number of its rows.
        """
        rows_N, ids_N = self.operands.rows_N - self.rows.start, self.operands.ids_N - self.columns.start
        inside_N = (rows_N >= 0) & (rows_N < self.num_rows) & (ids_N >= 0) & (ids_N < self.num_columns)
        first_N = ids_N - ids_N % self.width  # column of its slice
        width_N = (self.num_columns - first_N).clamp_max(self.width)
        place_N = first_N * self.num_rows + rows_N * width_N + ids_N - first_N
        self.place_N = torch.where(inside_N, place_N, self.num_rows * self.num_columns)
        logits_N = at_least_fp32(self.memory[self.place_N]) + self.operands.bias_V[self.operands.ids_N]
        self.memory[self.place_N] = -torch.inf
        return torch.where(inside_N, logits_N, 0.0), torch.where(inside_N, rows_N, self.num_rows)

    def row_statistic(self, negatives: Negatives) -> Tensor:
        """The statistic of each row over the block, [R]."""
        parts = []
        for own, logits_RC in self.slices():
            pieces = torch.split(logits_RC, self.height)
            parts.append(torch.cat([self.reduce(negatives, piece, self.bias_C[own], 1) for piece in pieces]))
        return negatives.merge(torch.stack(parts))

    def class_statistic(self, negatives: Negatives) -> Tensor:
        """The statistic of each class over the block, [C]."""
        parts = []
        for own, logits_RC in self.slices():
            pieces = [
                self.reduce(negatives, piece, self.bias_C[own], 0)
                for piece in torch.split(logits_RC, self.height)
            ]
            parts.append(negatives.merge(torch.stack(pieces)))
        return torch.cat(parts)

    def differentiate(
        self,
        negatives: Negatives,
        of_rows: tuple[Tensor, Tensor],
        of_classes: tuple[Tensor, Tensor] | None,
        label_gradient_N: Tensor,
    ) -> Tensor:
        """The logits become their gradient; its sum over the rows without the labels', [C].

        `of_rows`, `of_classes`: statistics over all blocks and their gradients, of the block's rows and columns.
        """
        rows = [torch.split(of_row[:, None], self.height) for of_row in of_rows]
        sums_C = torch.zeros_like(self.bias_C)
        for own, logits_RC in self.slices():
            classes = None if of_classes is None else (of_classes[0][own], of_classes[1][own])
            for piece, *of_piece in zip(torch.split(logits_RC, self.height), *rows, strict=True):
                sums_C[own] += self.differentiate_(
                    negatives, piece, self.bias_C[own], tuple(of_piece), classes
                )
        self.memory[self.place_N] = label_gradient_N.to(self.memory.dtype)
        return sums_C


class Gradients:
    """Gradients of features, weight and bias, in at least float32, from those of the logits block by block."""

    def __init__(self, operands: Operands, needed: tuple[bool, bool, bool]) -> None:
        def zeros(like: Tensor) -> Tensor:
            return torch.zeros(like.shape, dtype=operands.bias_V.dtype, device=like.device)

        self.features_BD = zeros(operands.features_BD) if needed[0] else None
        # not zeros: writing them would take as long as a block's elementwise work
        self.weight_VD = (
            in_huge_pages(torch.empty_like(operands.weight_VD, dtype=operands.bias_V.dtype))
            if needed[1]
            else None
        )
        self.bias_V = zeros(operands.bias_V) if needed[2] else None

    def add(self, block: Block, sums_C: Tensor) -> None:
        """Add a block that holds its gradient, and the sums over its rows."""
        for own, gradient_RC in block.slices():
            if self.features_BD is not None:
                self.features_BD[block.rows] += at_least_fp32(gradient_RC @ block.weight(own))
            if self.weight_VD is not None:
                product_CD = gradient_RC.T @ block.features_RD
                gradient_CD = self.weight_VD[block.columns][own]
                if block.rows.start == 0:
                    gradient_CD.copy_(product_CD)
                else:
                    gradient_CD += at_least_fp32(product_CD)
        if self.bias_V is not None:
            self.bias_V[block.columns] += sums_C

    def add_labels(self, ids_N: Tensor, gradient_N: Tensor) -> None:
        """Add to the bias what `sums_C` leaves out."""
        if self.bias_V is not None:
            self.bias_V.index_add_(0, ids_N, gradient_N)

    def scaled_(
        self, upstream: Tensor | None, dtypes: tuple[torch.dtype, ...]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Those of features, weight, bias, overwritten with themselves x `upstream`, in these dtypes."""
        gradients = (self.features_BD, self.weight_VD, self.bias_V)
        for gradient in gradients:
            if gradient is not None and upstream is not None:
                gradient.mul_(upstream)
        features, weight, bias = (
            None if gradient is None else gradient.to(dtype)
            for gradient, dtype in zip(gradients, dtypes, strict=True)
        )
        return features, weight, bias
