"""SuperCLIP (arXiv 2512.14480): CLIP whose image tower also classifies an image into its caption's tokens."""

# Shapes.  B samples, C channels, H W pixels, D features, E joint embedding, V vocabulary.

from __future__ import annotations

from torch import Tensor, nn

from model_zoo.classification_head import ClassificationHead
from model_zoo.contrastive_losses import info_nce
from model_zoo.contrastive_towers import ContrastiveTowers
from model_zoo.objective import check_pairs
from model_zoo.specification import ObjectiveSpecification
from model_zoo.superclass import weighted
from model_zoo.targets import BatchShare, LabelledTokens
from model_zoo.text_tower import TextTower


class SuperClip(ContrastiveTowers):
    """Two towers and a classification head, trained by a weighted sum of both losses.  Implements `Objective`.

    Head and projection read the same pooled features.
    """

    def __init__(
        self,
        specification: ObjectiveSpecification,
        image_tower: nn.Module,
        text_tower: TextTower,
        head: ClassificationHead,
    ) -> None:
        super().__init__(specification, image_tower, text_tower)
        self.head = head
        self.contrastive_weight = specification.contrastive_weight
        self.classification_weight = specification.classification_weight

    def encode(self, images_BCHW: Tensor, targets: LabelledTokens) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled features [B, D]; image and caption embeddings [B, E] of length 1."""
        check_pairs(images_BCHW, targets)
        features_BD = self.image_features(images_BCHW)
        return features_BD, self.project_features(features_BD), self.encode_text(targets.tokens.tokens_BL)

    def losses(
        self, encoded: tuple[Tensor, ...], targets: LabelledTokens, share: BatchShare
    ) -> dict[str, Tensor]:
        """{"loss", "contrastive_loss", "classification_loss", "logit_scale"}; the two parts before weighting."""
        features_BD, image_BE, text_BE = encoded
        loss_B = info_nce(
            image_BE, text_BE, targets.valid_B, self.logit_scale.exp(), across_ranks=self.training
        )
        contrastive = loss_B.sum() / share.divisor
        classification = self.head(features_BD, weighted(targets.labels, share), share.divisor)
        return {
            "loss": self.contrastive_weight * contrastive + self.classification_weight * classification,
            "contrastive_loss": contrastive.detach(),
            "classification_loss": classification.detach(),
            "logit_scale": self.logit_scale.detach().squeeze(0),
        }

    def head_logits(self, features_BD: Tensor) -> Tensor:
        """One logit per label of the vocabulary, [B, V], from `image_features`."""
        logits_BV: Tensor = self.head.logits(features_BD)
        return logits_BV
