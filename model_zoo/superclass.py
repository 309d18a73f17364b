"""SuperClass (arXiv 2411.03313): classify an image into the tokens of its caption."""

# Shapes.  B samples, C channels, H W pixels, D features, V vocabulary.

from __future__ import annotations

from torch import Tensor, nn

from model_zoo.classification_head import ClassificationHead
from model_zoo.losses import softmax_cross_entropy
from model_zoo.targets import LabelSets


class SuperClass(nn.Module):
    """An image tower trained to predict the set of token ids in the caption.  Implements `Objective`.

    The loss is a sum over samples, so gradients accumulated over micro-batches are those of the whole batch.
    """

    def __init__(self, image_tower: nn.Module, feature_width: int, vocabulary_size: int) -> None:
        super().__init__()
        self.image_tower: nn.Module = image_tower
        self.feature_width = feature_width
        self.head = ClassificationHead(feature_width, vocabulary_size)

    def forward(
        self, images_BCHW: Tensor, targets: LabelSets, num_valid: Tensor | float
    ) -> dict[str, Tensor]:
        """{"loss"}: softmax cross-entropy, summed over valid rows / num_valid, in at least fp32."""
        logits_BV = self.head_logits(self.image_features(images_BCHW))
        return {"loss": softmax_cross_entropy(logits_BV, targets).sum() / num_valid}

    def image_features(self, images_BCHW: Tensor) -> Tensor:
        """Pooled features [B, D], before the head."""
        features_BD: Tensor = self.image_tower(images_BCHW)
        return features_BD

    def head_logits(self, features_BD: Tensor) -> Tensor:
        """One logit per token of the vocabulary, [B, V]."""
        logits_BV: Tensor = self.head(features_BD)
        return logits_BV

    def after_step(self) -> tuple[nn.Parameter, ...]:
        """Nothing: no parameter is bounded."""
        return ()
