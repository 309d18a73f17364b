"""SuperClass (arXiv 2411.03313): classify an image into the tokens of its caption."""

# Shapes.  B samples, C channels, H W pixels, D features, V vocabulary.

from __future__ import annotations

from torch import Tensor, nn

from model_zoo.batch_norm import update_running_statistics
from model_zoo.classification_head import ClassificationHead
from model_zoo.objective import check_pairs
from model_zoo.specification import ObjectiveSpecification
from model_zoo.targets import BatchShare, LabelSets


class SuperClass(nn.Module):
    """An image tower trained to predict the set of token ids in the caption.  Implements `Objective`.

    All losses but `two_way` are sums over samples: gradients accumulated over micro-batches are those of the
    whole batch.
    """

    def __init__(
        self, specification: ObjectiveSpecification, image_tower: nn.Module, head: ClassificationHead
    ) -> None:
        super().__init__()
        self.image_tower: nn.Module = image_tower
        self.head = head
        self.feature_width = specification.image.width
        self.couples_samples = specification.couples_samples

    def forward(self, images_BCHW: Tensor, targets: LabelSets, share: BatchShare) -> dict[str, Tensor]:
        """{"loss"}, see `losses`."""
        return self.losses(self.encode(images_BCHW, targets), targets, share)

    def encode(self, images_BCHW: Tensor, targets: LabelSets) -> tuple[Tensor]:
        """Pooled features [B, D]."""
        check_pairs(images_BCHW, targets)
        return (self.image_features(images_BCHW),)

    def losses(self, encoded: tuple[Tensor, ...], targets: LabelSets, share: BatchShare) -> dict[str, Tensor]:
        """{"loss"}: the head's loss, summed over valid rows / divisor."""
        (features_BD,) = encoded
        return {"loss": self.head(features_BD, weighted(targets, share), share.divisor)}

    def image_features(self, images_BCHW: Tensor) -> Tensor:
        """Pooled features [B, D], before the head."""
        features_BD: Tensor = self.image_tower(images_BCHW)
        return features_BD

    def head_logits(self, features_BD: Tensor) -> Tensor:
        """One logit per label of the vocabulary, [B, V], from `image_features`."""
        logits_BV: Tensor = self.head.logits(features_BD)
        return logits_BV

    def after_step(self) -> tuple[nn.Parameter, ...]:
        """Nothing: no parameter is bounded.  The running statistics of batch norms are brought up to date."""
        update_running_statistics(self.image_tower)
        return ()


def weighted(labels: LabelSets, share: BatchShare) -> LabelSets:
    """The labels with the share's weights as targets; as they are where the share weighs all labels alike."""
    weights_V = share.label_weights_V
    return labels if weights_V is None else labels.with_probabilities(weights_V)
