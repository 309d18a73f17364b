"""SuperClass's head: every token of the vocabulary is a class."""

# Shapes.  B samples, D features, V vocabulary.

from __future__ import annotations

from torch import Tensor, nn


class ClassificationHead(nn.Module):
    """Image features [B, D] to one logit per token, [B, V].

    LayerNorm and a linear layer with bias, weights N(0, 1/D): the reference's `MixClsHead` with no hidden
    layers (the paper says "a linear layer" and does not mention the LayerNorm).
    """

    def __init__(self, feature_width: int, vocabulary_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_width)
        self.linear = nn.Linear(feature_width, vocabulary_size)
        nn.init.normal_(self.linear.weight, std=feature_width**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Logits [B, V]."""
        logits_BV: Tensor = self.linear(self.norm(features_BD))
        return logits_BV
