"""The classification losses as their papers write them: dense, slow, in whatever dtype the logits have."""

# Shapes.  B samples, D features, V vocabulary, N labels of all samples together.

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.classification_head import ClassificationHead
from model_zoo.classification_losses import ClassificationLoss
from model_zoo.specification import CLASSIFICATION_LOSSES
from model_zoo.targets import LabelSets
from model_zoo.tiling import Tiling

TILINGS = (
    Tiling(block_bytes=1, slice_columns=1, piece_elements=1),
    Tiling(block_bytes=2**10, slice_columns=7, piece_elements=15),
    Tiling(block_bytes=2**12, slice_columns=16, piece_elements=64),
    Tiling(block_bytes=2**26, slice_columns=2**11, piece_elements=2**18),
)
"""Blocks, slices and pieces of single logits; of sizes that divide nothing; everything at once."""

MODES = [
    (name, recompute) for name in CLASSIFICATION_LOSSES for recompute in (False, True) if name != "two_way"
] + [("two_way", True)]


def label_sets(rows: list[list[int]], valid: list[bool], *, weighted: bool = True) -> LabelSets:
    """Label sets with target probabilities of unequal labels, or without any."""
    ids_N = torch.tensor([label for row in rows for label in row], dtype=torch.int64)
    offsets = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    labels = LabelSets(ids_N, offsets, torch.tensor(valid))
    if not weighted:
        return labels
    return labels.with_probabilities(
        torch.linspace(0.2, 9.0, 1 + max([0, *ids_N.tolist()]), dtype=torch.float64)
    )


def a_head(
    name: str, width: int, vocabulary_size: int, *, recompute: bool = False, tiling: Tiling | None = None
) -> ClassificationHead:
    """A head in float64 with a bias and a norm that do something."""
    loss = ClassificationLoss(name=name)
    head = ClassificationHead(width, vocabulary_size, loss=loss, recompute=recompute).double()
    for parameter in (head.bias, head.norm.weight, head.norm.bias):
        torch.nn.init.normal_(parameter, mean=0.5)
    head.tiling = tiling
    return head


def dense_loss(name: str, logits_BV: Tensor, labels: LabelSets, divisor: float) -> Tensor:
    """The loss of the logits with ASL's and two-way's usual constants."""
    logits_BV, valid_B = logits_BV[labels.valid_B], labels.valid_B.tolist()
    probabilities_BV = torch.zeros_like(logits_BV)
    is_label_BV = torch.zeros_like(logits_BV, dtype=torch.bool)
    sets = [labels.rows(sample, sample + 1) for sample, valid in enumerate(valid_B) if valid]
    for row, own in enumerate(sets):
        uniform = torch.full([len(own.ids_N)], 1 / max(1, len(own.ids_N)), dtype=logits_BV.dtype)
        given = uniform if own.probabilities_N is None else own.probabilities_N.to(logits_BV.dtype)
        probabilities_BV[row, own.ids_N], is_label_BV[row, own.ids_N] = given, True
    weights_BV = probabilities_BV * is_label_BV.sum(dim=1, keepdim=True)
    if name == "softmax":
        return F.cross_entropy(logits_BV, probabilities_BV, reduction="sum") / divisor
    if name == "two_way":
        return _two_way(logits_BV, is_label_BV, weights_BV, divisor)
    if name == "asl":
        return _asl(logits_BV, is_label_BV, weights_BV).sum() / divisor
    weights_BV, target_BV = torch.where(is_label_BV, weights_BV, 1.0), is_label_BV.to(logits_BV.dtype)
    if name == "bce":
        loss_BV = F.binary_cross_entropy_with_logits(logits_BV, target_BV, weights_BV, reduction="none")
        return loss_BV.sum() / divisor
    return F.multilabel_soft_margin_loss(logits_BV, target_BV, weights_BV, reduction="sum") / divisor


def _asl(logits_BV: Tensor, is_label_BV: Tensor, weights_BV: Tensor) -> Tensor:
    """arXiv 2009.14119, equations 4 to 7: gamma+ = 0, gamma- = 4, m = 0.05."""
    p_BV = logits_BV.sigmoid()
    shifted_BV = (p_BV - 0.05).clamp(min=0)
    return -torch.where(is_label_BV, weights_BV * p_BV.log(), shifted_BV**4 * torch.log(1 - shifted_BV))


def _two_way(logits_BV: Tensor, is_label_BV: Tensor, weights_BV: Tensor, divisor: float) -> Tensor:
    """Kobayashi, CVPR 2023, T = 4: the sum over samples / divisor and the mean over classes with a label."""

    def softplus(logits: Tensor, is_label: Tensor, weights: Tensor) -> Tensor:
        if not weights.any() or is_label.all():
            return 0 * logits.sum()  # nothing to contrast: log sum exp of nothing is -inf
        negative, positive = logits[~is_label], logits[is_label]
        soft_minimum = 4 * torch.log((weights[is_label] * (-positive / 4).exp()).sum())
        return torch.log1p(torch.exp(negative.logsumexp(0) + soft_minimum))

    rows = zip(logits_BV, is_label_BV, weights_BV, strict=True)
    classes = [x for x in zip(logits_BV.T, is_label_BV.T, weights_BV.T, strict=True) if x[2].any()]
    of_samples = torch.stack([0 * logits_BV.sum(), *(softplus(*row) for row in rows)]).sum()
    of_classes = torch.stack([0 * logits_BV.sum(), *(softplus(*column) for column in classes)]).sum()
    return of_samples / divisor + of_classes / max(1, len(classes))
