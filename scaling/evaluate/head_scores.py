"""Scores of texts for images by a classification head, which sees a text as a set of tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.objective import Classifies
from model_zoo.targets import LabelSets

# Shapes.  B images, D features, V vocabulary, M texts.


def in_full_precision(device: torch.device) -> torch.autocast:
    """A context for fp32 whatever the run's precision: in bf16 close scores would be ties."""
    return torch.autocast(device.type, enabled=False)


def log_probabilities(objective: Classifies, features_BD: Tensor) -> Tensor:
    """log p(token | image) [B, V], fp32: the log-softmax of the head's logits."""
    with in_full_precision(features_BD.device):
        return objective.head_logits(features_BD.float()).log_softmax(dim=1)


def text_scores(log_values_BV: Tensor, texts: LabelSets) -> Tensor:
    """For each image and text, the mean of the image's values of the text's tokens, weighted, [B, M]."""
    assert texts.probabilities_N is not None
    scores_MB = F.embedding_bag(
        texts.ids_N,
        log_values_BV.T.contiguous(),
        texts.offsets[:-1],
        mode="sum",
        per_sample_weights=texts.probabilities_N.to(log_values_BV.dtype),
    )
    return scores_MB.T
