"""Linear layer and classification loss as one autograd function that holds a block of logits at a time.

`formed_in_forward`: blocks of samples.  Their logits are turned into gradients in the forward pass: three matrix
products in all, and a backward pass that only scales.  `recomputed`: blocks of classes.  The forward pass keeps
statistics, the backward pass makes the logits once more: four products, for losses that couple the samples of a
class, or where the weight's gradient must not live from the forward to the backward pass.
"""

# Shapes.  B samples, D features, V vocabulary, N labels of all samples together; R samples of a block.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model_zoo.classification_losses import Loss, TwoWay
from model_zoo.huge_pages import in_huge_pages
from model_zoo.positives import Positives
from model_zoo.precision import at_least_fp32, without_autocast
from model_zoo.streamed_logits import Block, Gradients, Operands
from model_zoo.tiling import Tiling


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Task:
    """A loss and the labels it is to be taken of."""

    loss: Loss
    samples_N: Tensor
    ids_N: Tensor
    probabilities_N: Tensor
    weights_N: Tensor
    valid_B: Tensor
    dtype: torch.dtype  # of the matrix products
    tiling: Tiling
    compiled: bool

    @property
    def couples_classes(self) -> bool:
        """Whether the loss has a term for each class, over all samples."""
        return isinstance(self.loss, TwoWay)

    def operands(self, features_BD: Tensor, weight_VD: Tensor, bias_V: Tensor) -> Operands:
        """What blocks are made of.  An accelerator converts the weight once: its blocks are large."""
        return Operands(
            features_BD=features_BD.to(self.dtype),
            weight_VD=weight_VD if weight_VD.device.type == "cpu" else weight_VD.to(self.dtype),
            bias_V=at_least_fp32(bias_V),
            rows_N=self.samples_N,
            ids_N=self.ids_N,
        )

    def positives(self, logits_N: Tensor, rows_N: Tensor, num_rows: int) -> Positives:
        """The labels of a block's `num_rows` samples."""
        return Positives(
            logits_N=logits_N,
            rows_N=rows_N,
            ids_N=self.ids_N,
            probabilities_N=self.probabilities_N,
            weights_N=self.weights_N,
            num_rows=num_rows,
        )

    def total(self, negative_R: Tensor, positives: Positives, valid_R: Tensor) -> Tensor:
        """The loss of the valid samples of a block, summed."""
        return torch.where(valid_R, self.loss.of_rows(negative_R, positives), 0.0).sum()


def formed_in_forward(features_BD: Tensor, weight_VD: Tensor, bias_V: Tensor, task: Task) -> Tensor:
    """The loss summed over valid samples, in at least float32."""
    total: Tensor = _FormedInForward.apply(features_BD, weight_VD, bias_V, task, torch.is_grad_enabled())
    return total


def recomputed(
    features_BD: Tensor, weight_VD: Tensor, bias_V: Tensor, task: Task
) -> tuple[Tensor, Tensor | None, Positives]:
    """(loss summed over valid samples, negatives of each class for a loss that asks for them, labels)."""
    row_statistic_B, class_statistic_V, logits_N = _Statistics.apply(features_BD, weight_VD, bias_V, task)
    positives = task.positives(logits_N, task.samples_N, len(features_BD))
    total = task.total(row_statistic_B, positives, task.valid_B)
    return total, class_statistic_V, positives


class _FormedInForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features_BD: Tensor, weight_VD: Tensor, bias_V: Tensor, task: Task, with_gradient: bool
    ) -> Tensor:
        ctx.task, ctx.dtypes = task, (features_BD.dtype, weight_VD.dtype, bias_V.dtype)
        ctx.save_for_backward(features_BD, weight_VD, bias_V)
        operands = task.operands(features_BD, weight_VD, bias_V)
        needed = ctx.needs_input_grad[:3]
        ctx.gradients = Gradients(operands, needed) if with_gradient and any(needed) else None
        return _over_row_blocks(task, operands, ctx.gradients)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # handed over, not copied
        if gradients is None:  # a second pass through a retained graph
            with without_autocast(upstream.device):
                operands = ctx.task.operands(*ctx.saved_tensors)
                gradients = Gradients(operands, ctx.needs_input_grad[:3])
                _over_row_blocks(ctx.task, operands, gradients)
        return *gradients.scaled_(upstream, ctx.dtypes), None, None


def _over_row_blocks(task: Task, operands: Operands, gradients: Gradients | None) -> Tensor:
    """The loss summed over valid samples; its gradients are added to `gradients`."""
    negatives, total = task.loss.negatives, operands.bias_V.new_zeros(())
    num_rows, num_columns = len(operands.features_BD), len(operands.bias_V)
    blocks = task.tiling.row_blocks(num_rows, num_columns, task.dtype.itemsize)
    memory = _block_memory(operands, max(rows.stop - rows.start for rows in blocks) * num_columns)
    for rows in blocks:
        block = Block(operands, task.tiling, rows, slice(0, num_columns), memory, compiled=task.compiled)
        logits_N, rows_N = block.take_labels()
        statistic_R = block.row_statistic(negatives)
        with torch.set_grad_enabled(gradients is not None):
            inputs = [x.requires_grad_(gradients is not None) for x in (statistic_R, logits_N)]
            positives = task.positives(logits_N, rows_N, block.num_rows)
            loss = task.total(statistic_R, positives, task.valid_B[rows])
        total += loss.detach()
        if gradients is not None:
            gradient_R, gradient_N = torch.autograd.grad(loss, inputs)
            of_rows = (statistic_R.detach(), gradient_R)
            gradients.add(block, block.differentiate(negatives, of_rows, None, gradient_N))
            gradients.add_labels(task.ids_N, gradient_N)
    return total


def _block_memory(operands: Operands, num_logits: int) -> Tensor:
    """For the largest block and the place of the labels that are elsewhere."""
    return in_huge_pages(operands.features_BD.new_empty(num_logits + 1))


class _Statistics(torch.autograd.Function):
    """What a loss is made of, with gradient: the negatives' statistics and the labels' logits."""

    @staticmethod
    def forward(
        ctx: Any, features_BD: Tensor, weight_VD: Tensor, bias_V: Tensor, task: Task
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        ctx.task = task
        operands, negatives = task.operands(features_BD, weight_VD, bias_V), task.loss.negatives
        of_rows, of_classes, logits_N = [], [], torch.zeros_like(task.weights_N)
        for block, own_logits_N in _column_blocks(task, operands):
            logits_N += own_logits_N
            of_rows.append(block.row_statistic(negatives))
            if task.couples_classes:
                of_classes.append(block.class_statistic(negatives))
        row_statistic_B = negatives.merge(torch.stack(of_rows))
        class_statistic_V = torch.cat(of_classes) if of_classes else None
        ctx.save_for_backward(features_BD, weight_VD, bias_V, row_statistic_B, class_statistic_V)
        return row_statistic_B, class_statistic_V, logits_N

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, row_gradient_B: Tensor, class_gradient_V: Tensor | None, label_gradient_N: Tensor
    ) -> tuple[Tensor | None, ...]:
        *inputs, row_statistic_B, class_statistic_V = ctx.saved_tensors
        task = ctx.task
        with without_autocast(row_statistic_B.device):
            operands = task.operands(*inputs)
            gradients = Gradients(operands, ctx.needs_input_grad[:3])
            for block, _ in _column_blocks(task, operands):
                of_classes = None
                if class_statistic_V is not None and class_gradient_V is not None:
                    of_classes = (class_statistic_V[block.columns], class_gradient_V[block.columns])
                of_rows = (row_statistic_B, row_gradient_B)
                sums_C = block.differentiate(task.loss.negatives, of_rows, of_classes, label_gradient_N)
                gradients.add(block, sums_C)
            gradients.add_labels(task.ids_N, label_gradient_N)
            return *gradients.scaled_(None, tuple(x.dtype for x in inputs)), None


def _column_blocks(task: Task, operands: Operands) -> Iterator[tuple[Block, Tensor]]:
    """Blocks of all samples one after another, each with the logits of its labels, [N], 0 elsewhere."""
    num_rows, num_columns = len(operands.features_BD), len(operands.bias_V)
    blocks = task.tiling.column_blocks(num_rows, num_columns, task.dtype.itemsize)
    most = max(columns.stop - columns.start for columns in blocks)
    memory = _block_memory(operands, num_rows * most)
    for columns in blocks:
        block = Block(operands, task.tiling, slice(0, num_rows), columns, memory, compiled=task.compiled)
        logits_N, _ = block.take_labels()
        if task.couples_classes:
            block.hide_rows(~task.valid_B)
        yield block, logits_N
