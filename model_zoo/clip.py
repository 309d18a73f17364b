"""CLIP (arXiv 2103.00020): tell apart the captions of a batch of images, and the images of its captions."""

# Shapes.  B samples, C channels, H W pixels, L caption tokens, D features, E joint embedding.

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.losses import at_least_fp32, contrastive_loss
from model_zoo.targets import TokenRows
from model_zoo.text_tower import TextTower

LARGEST_LOGIT_SCALE = 10.0
"""A scale of 22,026; whoever asks for more gave the scale itself (CLIP's 100) in place of its logarithm."""


class Clip(nn.Module):
    """An image tower trained against a text tower.  Implements `Objective`.

    `logit_scale` is the natural logarithm of the inverse temperature, as in CLIP (ln(1/0.07) at the start,
    at most ln 100), of shape [1] because DeepSpeed 0.19.8 cannot hold 0-dimensional parameters.  It is
    bounded by `clamp_logit_scale` after each step, as in open_clip, and never inside the forward pass: its
    gradient flows even at the bound, so that it can come down again.

    In training mode the negatives are the rows of all ranks (of this micro-batch: accumulation changes the
    objective).  In evaluation mode they are this call's rows alone, so that a loss over batches of a fixed
    size does not depend on the number of ranks, and no rank waits for another.
    """

    def __init__(
        self,
        image_tower: nn.Module,
        text_tower: TextTower,
        *,
        feature_width: int,
        embed_width: int,
        logit_scale_init: float,
        logit_scale_max: float,
    ) -> None:
        super().__init__()
        _check_logit_scale(logit_scale_init, logit_scale_max)
        self.image_tower: nn.Module = image_tower
        self.text_tower = text_tower
        self.feature_width = feature_width
        self.logit_scale_max = logit_scale_max
        self.image_projection = _projection(feature_width, embed_width)
        self.text_projection = _projection(text_tower.feature_width, embed_width)
        self.logit_scale = nn.Parameter(torch.full([1], float(logit_scale_init)))

    def forward(
        self, images_BCHW: Tensor, targets: TokenRows, num_valid: Tensor | float
    ) -> dict[str, Tensor]:
        """{"loss", "logit_scale"}: InfoNCE, mean of both directions, summed over valid rows / num_valid."""
        loss_B = contrastive_loss(
            self.encode_image(images_BCHW),
            self.encode_text(targets.tokens_BL),
            targets.valid_B,
            self.logit_scale.exp(),
            across_ranks=self.training,
        )
        return {"loss": loss_B.sum() / num_valid, "logit_scale": self.logit_scale.detach().squeeze(0)}

    def image_features(self, images_BCHW: Tensor) -> Tensor:
        """Pooled features [B, D], before the projection."""
        features_BD: Tensor = self.image_tower(images_BCHW)
        return features_BD

    def encode_image(self, images_BCHW: Tensor) -> Tensor:
        """Image embeddings [B, E] of length 1."""
        return F.normalize(at_least_fp32(self.image_projection(self.image_features(images_BCHW))), dim=-1)

    def encode_text(self, tokens_BL: Tensor) -> Tensor:
        """Caption embeddings [B, E] of length 1."""
        return F.normalize(at_least_fp32(self.text_projection(self.text_tower(tokens_BL))), dim=-1)

    def clamp_logit_scale(self) -> None:
        """Lower `logit_scale` to `logit_scale_max` if the last step lifted it above."""
        with torch.no_grad():
            self.logit_scale.clamp_(max=self.logit_scale_max)

    def after_step(self) -> tuple[nn.Parameter, ...]:
        """`logit_scale`, clamped."""
        self.clamp_logit_scale()
        return (self.logit_scale,)


def _projection(width: int, embed_width: int) -> nn.Linear:
    projection = nn.Linear(width, embed_width, bias=False)
    nn.init.normal_(projection.weight, std=width**-0.5)  # CLIP's
    return projection


def _check_logit_scale(init: float, maximum: float) -> None:
    if maximum > LARGEST_LOGIT_SCALE:
        raise ValueError(
            f"logit_scale_max ({maximum}) must be at most {LARGEST_LOGIT_SCALE}: it is the natural logarithm "
            f"of CLIP's scale; write 4.6052 for a scale of 100."
        )
    if init > maximum:
        raise ValueError(
            f"logit_scale_init ({init}) must not exceed logit_scale_max ({maximum}); both are natural "
            f"logarithms (CLIP: ln(1/0.07) = 2.6593 and ln 100 = 4.6052)."
        )
