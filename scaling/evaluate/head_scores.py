"""How well a text fits an image by a classification head, which knows texts only as sets of tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.objective import Classifies
from model_zoo.targets import LabelSets

# Shapes.  B images, D features, V vocabulary, M texts.


def in_full_precision(device: torch.device) -> torch.autocast:
    """A context in which scores are fp32 whatever the run's precision: bf16 makes ties of near scores."""
    return torch.autocast(device.type, enabled=False)


def log_probabilities(objective: Classifies, features_BD: Tensor) -> Tensor:
    """log p(token | image) [B, V], fp32: the log-softmax of the head's logits."""
    with in_full_precision(features_BD.device):
        return objective.head_logits(features_BD.float()).log_softmax(dim=1)


def text_scores(log_values_BV: Tensor, texts: LabelSets) -> Tensor:
    """The mean over a text's tokens of their values in an image, weighted by their probabilities, [B, M]."""
    assert texts.probabilities_N is not None
    scores_MB = F.embedding_bag(
        texts.ids_N,
        log_values_BV.T.contiguous(),
        texts.offsets[:-1],
        mode="sum",
        per_sample_weights=texts.probabilities_N.to(log_values_BV.dtype),
    )
    return scores_MB.T
