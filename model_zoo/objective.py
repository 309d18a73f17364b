"""What a training loop and an evaluator may ask of an objective, whichever it is."""

# Shapes.  B samples, C channels, H W pixels.

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class Objective(Protocol):
    """An image tower and the loss that trains it.  Implementations are `nn.Module`s: SuperClass and Clip."""

    image_tower: nn.Module
    feature_width: int  # of image_features

    def forward(self, images_BCHW: Tensor, targets: Any, num_valid: Tensor | float) -> dict[str, Tensor]:
        """{"loss": scalar with gradient, ...}; anything else is detached and only for the log.

        `images_BCHW`: normalised floats.  `targets`: the objective's own kind, LabelSets or TokenRows.
        loss = sum over this call's valid rows / num_valid.  With num_valid = valid rows of the global batch /
        (ranks x micro-batches), the mean over ranks and micro-batches, which is what engines take, is the
        exact mean over the valid rows of the global batch.  num_valid must be above 0.
        """
        ...

    def image_features(self, images_BCHW: Tensor) -> Tensor:
        """Pooled features [B, feature_width], before any head or projection: what probes see."""
        ...

    def after_step(self) -> tuple[nn.Parameter, ...]:
        """The parameters this call changed in place; call it once after every optimizer step.

        An engine that steps its own master copy of the weights (ZeRO) must copy these back into it, or the
        next step undoes the change.
        """
        ...
