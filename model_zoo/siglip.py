"""SigLIP (arXiv 2303.15343): for every image and caption of a batch, say whether they belong together."""

# Shapes.  B samples, E joint embedding.

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_zoo.contrastive_losses import pairwise_sigmoid
from model_zoo.contrastive_towers import ContrastiveTowers
from model_zoo.specification import ObjectiveSpecification
from model_zoo.targets import BatchShare, TokenRows
from model_zoo.text_tower import TextTower


class SigLip(ContrastiveTowers):
    """Two towers trained by the pairwise sigmoid loss.  Implements `Objective`.

    `logit_bias` starts far below 0 (-10 in the paper), since nearly all pairs are negatives.  `logit_scale`
    is bounded above as CLIP's is, which open_clip does and the paper does not.
    """

    def __init__(
        self, specification: ObjectiveSpecification, image_tower: nn.Module, text_tower: TextTower
    ) -> None:
        super().__init__(specification, image_tower, text_tower)
        self.logit_bias = nn.Parameter(torch.full([1], float(specification.logit_bias_init)))

    def losses(self, encoded: tuple[Tensor, ...], targets: TokenRows, share: BatchShare) -> dict[str, Tensor]:
        """{"loss", "logit_scale", "logit_bias"}: the sigmoid loss of valid images x captions / divisor."""
        image_BE, text_BE = encoded
        scale, bias, across_ranks = self.logit_scale.exp(), self.logit_bias, self.training
        loss_B = pairwise_sigmoid(image_BE, text_BE, targets.valid_B, scale, bias, across_ranks=across_ranks)
        return {
            "loss": loss_B.sum() / share.divisor,
            "logit_scale": self.logit_scale.detach().squeeze(0),
            "logit_bias": self.logit_bias.detach().squeeze(0),
        }
