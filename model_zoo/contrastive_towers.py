"""What every contrastive objective is made of: two towers, two projections, and a learned logit scale."""

# Shapes.  B samples, C channels, H W pixels, L caption tokens, D features, E joint embedding.

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.batch_norm import update_running_statistics
from model_zoo.objective import check_pairs
from model_zoo.precision import at_least_fp32
from model_zoo.specification import ObjectiveSpecification
from model_zoo.targets import BatchShare
from model_zoo.text_tower import TextTower


class ContrastiveTowers(nn.Module, ABC):
    """Images and captions to embeddings of length 1.  Clip, SigLip, SuperClip and Lit add their losses.

    `logit_scale` is the natural logarithm of the inverse temperature, as in CLIP (arXiv 2103.00020: ln(1/0.07)
    at the start, at most ln 100), of shape [1] because DeepSpeed 0.19.8 cannot hold 0-dimensional parameters.
    It is bounded after each step, as in open_clip, and never inside the forward pass: its gradient flows even
    at the bound, so that it can come down again.

    In training mode the negatives are the rows of all ranks.  In evaluation mode they are this call's rows
    alone, so that a loss over batches of a fixed size does not depend on the number of ranks, and no rank
    waits for another.
    """

    couples_samples = True

    def __init__(
        self, specification: ObjectiveSpecification, image_tower: nn.Module, text_tower: TextTower
    ) -> None:
        super().__init__()
        image = specification.image
        self.image_tower: nn.Module = image_tower
        self.text_tower = text_tower
        self.feature_width = image.width
        self.context_length = specification.context_length
        self.logit_scale_max = specification.logit_scale_max
        self.image_projection = _projection(image.width, image.embed_width, bias=image.projection_bias)
        self.text_projection = _projection(text_tower.feature_width, image.embed_width, bias=False)
        self.logit_scale = nn.Parameter(torch.full([1], float(specification.logit_scale_init)))

    def forward(self, images_BCHW: Tensor, targets: Any, share: BatchShare) -> dict[str, Tensor]:
        """The losses of a batch, see `losses`."""
        return self.losses(self.encode(images_BCHW, targets), targets, share)

    def encode(self, images_BCHW: Tensor, targets: Any) -> tuple[Tensor, ...]:
        """Image and caption embeddings [B, E] of length 1; `targets` are TokenRows."""
        check_pairs(images_BCHW, targets)
        return self.encode_image(images_BCHW), self.encode_text(targets.tokens_BL)

    @abstractmethod
    def losses(self, encoded: tuple[Tensor, ...], targets: Any, share: BatchShare) -> dict[str, Tensor]:
        """{"loss", ...} of what `encode` returned."""

    def image_features(self, images_BCHW: Tensor) -> Tensor:
        """Pooled features [B, D], before the projection."""
        features_BD: Tensor = self.image_tower(images_BCHW)
        return features_BD

    def project_features(self, features_BD: Tensor) -> Tensor:
        """Image embeddings [B, E] of length 1, from `image_features`."""
        return F.normalize(at_least_fp32(self.image_projection(features_BD)), dim=-1)

    def encode_image(self, images_BCHW: Tensor) -> Tensor:
        """Image embeddings [B, E] of length 1."""
        return self.project_features(self.image_features(images_BCHW))

    def encode_text(self, tokens_BL: Tensor) -> Tensor:
        """Caption embeddings [B, E] of length 1."""
        self._check_tokens(tokens_BL)
        return F.normalize(at_least_fp32(self.text_projection(self.text_tower(tokens_BL))), dim=-1)

    def clamp_logit_scale(self) -> None:
        """Lower `logit_scale` to `logit_scale_max` if the last step lifted it above."""
        with torch.no_grad():
            self.logit_scale.clamp_(max=self.logit_scale_max)

    def after_step(self) -> tuple[nn.Parameter, ...]:
        """Clamps and returns `logit_scale`; brings the running statistics of batch norms up to date."""
        update_running_statistics(self.image_tower)
        self.clamp_logit_scale()
        return (self.logit_scale,)

    def _check_tokens(self, tokens_BL: Tensor) -> None:
        vocabulary_size = self.text_tower.token_embedding.num_embeddings
        if tokens_BL.shape[1] > self.context_length:
            raise ValueError(
                f"captions of {tokens_BL.shape[1]} tokens (shape {list(tokens_BL.shape)}) for a text tower with "
                f"context_length {self.context_length}: cut them, or build the tower for longer ones."
            )
        if tokens_BL.device.type != "cpu" or not tokens_BL.numel():
            return  # looking would wait for the accelerator, which refuses a wrong id itself
        lowest, highest = (int(bound) for bound in tokens_BL.aminmax())
        if lowest < 0 or highest >= vocabulary_size:
            raise ValueError(
                f"token ids {lowest} to {highest} (shape {list(tokens_BL.shape)}) for a text tower with "
                f"vocabulary_size {vocabulary_size}: use the tokenizer the tower was built for."
            )


def _projection(width: int, embed_width: int, *, bias: bool) -> nn.Linear:
    projection = nn.Linear(width, embed_width, bias=bias)
    # CLIP's initial weight; it leaves the bias of a ResNet's projection at torch's default
    nn.init.normal_(projection.weight, std=width**-0.5)
    return projection
