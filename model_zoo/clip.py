"""CLIP (arXiv 2103.00020): tell apart the captions of a batch of images, and the images of its captions."""

# Shapes.  B samples, E joint embedding.

from __future__ import annotations

from torch import Tensor

from model_zoo.contrastive_losses import info_nce
from model_zoo.contrastive_towers import ContrastiveTowers
from model_zoo.targets import BatchShare, TokenRows


class Clip(ContrastiveTowers):
    """Two towers trained by InfoNCE.  Implements `Objective`."""

    def losses(self, encoded: tuple[Tensor, ...], targets: TokenRows, share: BatchShare) -> dict[str, Tensor]:
        """{"loss", "logit_scale"}: InfoNCE, mean of both directions, summed over valid rows / divisor."""
        image_BE, text_BE = encoded
        loss_B = info_nce(
            image_BE, text_BE, targets.valid_B, self.logit_scale.exp(), across_ranks=self.training
        )
        return {
            "loss": loss_B.sum() / share.divisor,
            "logit_scale": self.logit_scale.detach().squeeze(0),
        }
