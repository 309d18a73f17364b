"""LiT (arXiv 2111.07991): CLIP with a locked image tower, so that a text tower learns to read its features."""

# Shapes.  B samples, C channels, H W pixels, D features.

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_zoo.clip import Clip
from model_zoo.specification import ObjectiveSpecification
from model_zoo.text_tower import TextTower


class Lit(Clip):
    """CLIP whose image tower keeps the weights that the caller loads into it.  Implements `Objective`.

    The projections, the text tower and the logit scale train, as in the reference evaluation of SuperClass.
    The tower stays in evaluation mode and records no gradient: features are the same in every step.
    """

    def __init__(
        self, specification: ObjectiveSpecification, image_tower: nn.Module, text_tower: TextTower
    ) -> None:
        super().__init__(specification, image_tower, text_tower)
        self.image_tower.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Lit:
        """Training or evaluation mode for everything but the image tower."""
        super().train(mode)
        self.image_tower.eval()
        return self

    def image_features(self, images_BCHW: Tensor) -> Tensor:
        """Pooled features [B, D], without gradient."""
        with torch.no_grad():
            return super().image_features(images_BCHW)

    def after_step(self) -> tuple[nn.Parameter, ...]:
        """Clamps and returns `logit_scale`."""
        self.clamp_logit_scale()
        return (self.logit_scale,)
