"""How well a text fits an image by SuperClass's own head, which knows texts only as sets of tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.superclass import SuperClass
from model_zoo.targets import LabelSets

# Shapes.  B images, D features, V vocabulary, M texts.


def log_probabilities(objective: SuperClass, features_BD: Tensor) -> Tensor:
    """log p(token | image) [B, V] in fp32: the log-softmax of the head's logits."""
    return objective.head_logits(features_BD).float().log_softmax(dim=1)


def text_scores(log_values_BV: Tensor, texts: LabelSets) -> Tensor:
    """For every text the weighted mean of its tokens' values in every image, [B, M].

    The weights are the texts' probabilities, which sum to 1 over the tokens of a text.
    """
    assert texts.probabilities_N is not None
    scores_MB = F.embedding_bag(
        texts.ids_N,
        log_values_BV.T.contiguous(),
        texts.offsets[:-1],
        mode="sum",
        per_sample_weights=texts.probabilities_N.to(log_values_BV.dtype),
    )
    return scores_MB.T


def log_marginal(objective: SuperClass, features_ND: Tensor, batch: int) -> Tensor:
    """log p(token) [V]: the mean over the images of p(token | image)."""
    sums = [
        log_probabilities(objective, features_BD).exp().sum(dim=0, dtype=torch.float64)
        for features_BD in torch.split(features_ND, batch)
    ]
    return (torch.stack(sums).sum(dim=0) / len(features_ND)).log().float()
