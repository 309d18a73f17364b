"""Losses that tell matching image-caption pairs from the others, one value per sample, across ranks."""

# Shapes.  B samples of this rank, G samples of all ranks, E joint embedding.

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.across_ranks import gather_flags, gather_rows, num_ranks, own_rank
from model_zoo.precision import at_least_fp32, without_autocast

IGNORED = -100  # the label that F.cross_entropy leaves out


def info_nce(
    image_BE: Tensor, text_BE: Tensor, valid_B: Tensor, scale: Tensor, *, across_ranks: bool
) -> Tensor:
    """InfoNCE of each sample, [B], in nats, image-to-text and text-to-image averaged; 0 for invalid rows.

    CLIP's loss (arXiv 2103.00020, figure 3).  Negatives are the other valid rows of this rank or, with
    `across_ranks`, of all ranks (equal B on each).  Gradients also flow back into gathered rows, so that the mean over
    ranks of the gradients, which engines take, is the gradient of the mean loss of the global batch.
    """
    with without_autocast(image_BE.device):
        image_BE, text_BE, scale = at_least_fp32(image_BE), at_least_fp32(text_BE), at_least_fp32(scale)
        if across_ranks and num_ranks() > 1:
            to_text_BG = scale * image_BE @ gather_rows(text_BE).T
            to_image_BG = scale * text_BE @ gather_rows(image_BE).T
        else:
            to_text_BG = scale * image_BE @ text_BE.T
            to_image_BG = to_text_BG.T
        own_B, valid_G = _own_columns(valid_B, across_ranks)
        own_B = torch.where(valid_B, own_B, IGNORED)
        return (_choice(to_text_BG, own_B, valid_G) + _choice(to_image_BG, own_B, valid_G)) / 2


def pairwise_sigmoid(
    image_BE: Tensor, text_BE: Tensor, valid_B: Tensor, scale: Tensor, bias: Tensor, *, across_ranks: bool
) -> Tensor:
    """-log sigmoid(+-(scale x similarity + bias)) of each image summed over captions, [B]; 0 for invalid rows.

    SigLIP's loss (arXiv 2303.15343, algorithm 1): + for an image's own caption, - for every other valid one of
    this rank or, `across_ranks`, of all ranks (equal B on each).  Gradients as with `info_nce`.
    """
    with without_autocast(image_BE.device):
        image_BE, text_BE = at_least_fp32(image_BE), at_least_fp32(text_BE)
        text_GE = gather_rows(text_BE) if across_ranks else text_BE
        logits_BG = at_least_fp32(scale) * image_BE @ text_GE.T + at_least_fp32(bias)
        own_B, valid_G = _own_columns(valid_B, across_ranks)
        sign_BG = torch.full_like(logits_BG, -1.0).scatter_(1, own_B[:, None], 1.0)
        loss_BG = -F.logsigmoid(sign_BG * logits_BG)
        return torch.where(valid_B, loss_BG.masked_fill(~valid_G, 0.0).sum(dim=1), 0.0)


def _own_columns(valid_B: Tensor, across_ranks: bool) -> tuple[Tensor, Tensor]:
    """The column that matches each row, int64 [B], and which columns are valid, bool [G]."""
    own_B = torch.arange(len(valid_B), device=valid_B.device)
    if not across_ranks:
        return own_B, valid_B
    return own_B + own_rank() * len(valid_B), gather_flags(valid_B)


def _choice(logits_BG: Tensor, own_B: Tensor, valid_G: Tensor) -> Tensor:
    """Cross-entropy [B] of choosing `own_B` among the valid columns."""
    lowest = torch.finfo(logits_BG.dtype).min  # not -inf: a batch without valid rows must stay free of NaN
    logits_BG = logits_BG.masked_fill(~valid_G, lowest)
    return F.cross_entropy(logits_BG, own_B, ignore_index=IGNORED, reduction="none")
