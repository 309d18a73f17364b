"""CLIP (arXiv 2103.00020): tell apart the captions of a batch of images, and the images of its captions."""

# Shapes.  B samples, C channels, H W pixels, E joint embedding.

from __future__ import annotations

from torch import Tensor

from model_zoo.contrastive_losses import info_nce
from model_zoo.contrastive_towers import ContrastiveTowers
from model_zoo.objective import check_pairs
from model_zoo.targets import BatchShare, TokenRows


class Clip(ContrastiveTowers):
    """Two towers trained by InfoNCE.  Implements `Objective`."""

    def forward(self, images_BCHW: Tensor, targets: TokenRows, share: BatchShare) -> dict[str, Tensor]:
        """{"loss", "logit_scale"}, see `losses`."""
        return self.losses(self.encode(images_BCHW, targets), targets, share)

    def encode(self, images_BCHW: Tensor, targets: TokenRows) -> tuple[Tensor, Tensor]:
        """Image and caption embeddings [B, E] of length 1."""
        check_pairs(images_BCHW, targets)
        return self.encode_image(images_BCHW), self.encode_text(targets.tokens_BL)

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
