"""The losses, one value per sample: softmax cross-entropy against label sets, InfoNCE across ranks."""

# Shapes.  B samples of this rank, G samples of all ranks, V vocabulary, N labels of all B samples,
# E joint embedding.

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from model_zoo.targets import LabelSets

ELEMENTS_PER_CHUNK = 2**24  # logits held in fp32 at a time: 64 MiB, whatever the batch
IGNORED = -100  # the label that F.cross_entropy leaves out


def at_least_fp32(x: Tensor) -> Tensor:
    """`x` in float32, or float64 if it is."""
    return x if x.dtype == torch.float64 else x.float()


def softmax_cross_entropy(logits_BV: Tensor, labels: LabelSets) -> Tensor:
    """sum_c target_c * (logsumexp(logits) - logit_c) of each sample, [B], in nats; 0 for invalid rows.

    Computed in at least fp32 whatever the logits are.  Nothing of size B x V is made but the gradient, in the
    dtype of the logits; the targets stay ragged.
    """
    if labels.probabilities_N is None:
        labels = labels.with_probabilities(None)
    loss_B: Tensor = _SoftmaxCrossEntropy.apply(
        logits_BV, labels.samples_N(), labels.ids_N, labels.probabilities_N
    )
    return torch.where(labels.valid_B, loss_B, 0.0)


class _SoftmaxCrossEntropy(torch.autograd.Function):
    """Softmax cross-entropy that keeps only the logits and their logsumexp for the backward pass.

    Measured at B = 1,024, V = 49,408: autograd on the plain formula peaks above 20 bytes per bfloat16 logit,
    the logits included; this at 4 (they and their gradient) and a few chunks.
    """

    @staticmethod
    def forward(ctx: Any, logits_BV: Tensor, samples_N: Tensor, ids_N: Tensor, targets_N: Tensor) -> Tensor:
        chunks = torch.split(logits_BV, _rows_per_chunk(logits_BV))
        logsumexp_B = torch.cat([at_least_fp32(chunk).logsumexp(dim=1) for chunk in chunks])
        targets_N = targets_N.to(logsumexp_B.dtype)
        surprise_N = logsumexp_B[samples_N] - logits_BV[samples_N, ids_N]
        ctx.save_for_backward(logits_BV, logsumexp_B, samples_N, ids_N, targets_N)
        return torch.zeros_like(logsumexp_B).index_add_(0, samples_N, targets_N * surprise_N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_B: Tensor) -> tuple[Tensor | None, ...]:
        logits_BV, logsumexp_B, samples_N, ids_N, targets_N = ctx.saved_tensors
        mass_B = torch.zeros_like(logsumexp_B).index_add_(0, samples_N, targets_N)  # 1, or 0 without labels
        gradient_BV = torch.empty_like(logits_BV)
        rows = _rows_per_chunk(logits_BV)
        for logits, gradient, logsumexp, scale in zip(
            torch.split(logits_BV, rows),
            torch.split(gradient_BV, rows),
            torch.split(logsumexp_B[:, None], rows),
            torch.split((upstream_B * mass_B)[:, None], rows),
            strict=True,
        ):
            gradient.copy_((logits - logsumexp).exp_().mul_(scale))
        # Labels once more: subtracted before rounding to the dtype of the logits.  (sample, id) is unique.
        softmax_N = (logits_BV[samples_N, ids_N] - logsumexp_B[samples_N]).exp()
        labelled_N = upstream_B[samples_N] * (mass_B[samples_N] * softmax_N - targets_N)
        gradient_BV[samples_N, ids_N] = labelled_N.to(gradient_BV.dtype)
        return gradient_BV, None, None, None


def _rows_per_chunk(logits_BV: Tensor) -> int:
    return max(1, ELEMENTS_PER_CHUNK // logits_BV.shape[1])


def contrastive_loss(
    image_BE: Tensor, text_BE: Tensor, valid_B: Tensor, scale: Tensor, *, across_ranks: bool
) -> Tensor:
    """InfoNCE of each sample, [B], in nats, image-to-text and text-to-image averaged; 0 for invalid rows.

    Negatives are the other valid rows of this rank or, `across_ranks`, of all ranks (equal B on each).
    Gradients flow back through those too: the mean over ranks of the gradients, as engines take it, is the
    gradient of the global mean.
    """
    with _without_autocast(image_BE.device):
        image_BE, text_BE, scale = at_least_fp32(image_BE), at_least_fp32(text_BE), at_least_fp32(scale)
        if across_ranks and _world_size() > 1:
            to_text_BG = scale * image_BE @ _gather_rows(text_BE).T
            to_image_BG = scale * text_BE @ _gather_rows(image_BE).T
            valid_G, first = _gather_flags(valid_B), dist.get_rank() * len(valid_B)
        else:
            to_text_BG = scale * image_BE @ text_BE.T
            to_image_BG, valid_G, first = to_text_BG.T, valid_B, 0
        own_B = torch.arange(first, first + len(valid_B), device=valid_B.device)
        own_B = torch.where(valid_B, own_B, IGNORED)
        return (_choice(to_text_BG, own_B, valid_G) + _choice(to_image_BG, own_B, valid_G)) / 2


def _without_autocast(device: torch.device) -> AbstractContextManager[None]:
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()  # a device that has none, such as meta


def _choice(logits_BG: Tensor, own_B: Tensor, valid_G: Tensor) -> Tensor:
    """Cross-entropy [B] of choosing `own_B` among the valid columns."""
    lowest = torch.finfo(logits_BG.dtype).min  # not -inf: a batch without valid rows must stay free of NaN
    logits_BG = logits_BG.masked_fill(~valid_G, lowest)
    return F.cross_entropy(logits_BG, own_B, ignore_index=IGNORED, reduction="none")


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _gather_flags(flags_B: Tensor) -> Tensor:
    flags_G = flags_B.new_empty(_world_size() * len(flags_B))
    dist.all_gather_into_tensor(flags_G, flags_B.contiguous())
    return flags_G


def _gather_rows(rows_BE: Tensor) -> Tensor:
    """The rows of all ranks, [G, E], rank by rank, with gradient."""
    rows_GE: Tensor = _GatherRows.apply(rows_BE)
    return rows_GE


class _GatherRows(torch.autograd.Function):
    """all_gather whose gradient returns to the rank each row came from.

    Ours, because `torch.distributed.nn.all_gather` is deprecated in torch 2.15 in favour of a private module.
    """

    @staticmethod
    def forward(ctx: Any, rows_BE: Tensor) -> Tensor:
        rows_GE = rows_BE.new_empty(_world_size() * len(rows_BE), *rows_BE.shape[1:])
        dist.all_gather_into_tensor(rows_GE, rows_BE.contiguous())
        return rows_GE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_GE: Tensor) -> Tensor:
        upstream_BE = upstream_GE.new_empty(len(upstream_GE) // _world_size(), *upstream_GE.shape[1:])
        dist.reduce_scatter_tensor(upstream_BE, upstream_GE.contiguous())
        return upstream_BE
