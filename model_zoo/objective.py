"""What a training loop and an evaluator may ask of an objective, whichever it is."""

# Shapes.  B samples, C channels, H W pixels, D features, E joint embedding, L caption tokens, V vocabulary.

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from model_zoo.targets import BatchShare


class Objective(Protocol):
    """An image tower and the loss that trains it, in two stages: encode each sample, then compare.

    Implementations are `nn.Module`s: SuperClass, Clip, SigLip, SuperClip, Lit.  The targets are the
    objective's own kind: LabelSets, TokenRows or LabelledTokens.
    """

    image_tower: nn.Module
    feature_width: int  # of image_features

    @property
    def couples_samples(self) -> bool:
        """Whether a sample's loss depends on the other samples of its batch.

        Then a batch that comes in micro-batches must be encoded whole before `losses`, or the loss changes.
        """
        ...

    def forward(self, images_BCHW: Tensor, targets: Any, share: BatchShare) -> dict[str, Tensor]:
        """losses(encode(images, targets), targets, share); the images are normalised floats."""
        ...

    def encode(self, images_BCHW: Tensor, targets: Any) -> tuple[Tensor, ...]:
        """What the losses compare: tensors with one row per sample, each row made from its own sample."""
        ...

    def losses(self, encoded: tuple[Tensor, ...], targets: Any, share: BatchShare) -> dict[str, Tensor]:
        """{"loss": scalar with gradient, ...}; anything else is detached and only for the log.

        loss = sum over this call's valid rows / share.divisor, so that the mean over ranks and micro-batches,
        which is what engines take, is the exact mean over the valid rows of the global batch.
        """
        ...

    def image_features(self, images_BCHW: Tensor) -> Tensor:
        """Pooled features [B, feature_width], before any head or projection: what probes see."""
        ...

    def after_step(self) -> tuple[nn.Parameter, ...]:
        """The parameters this call changed in place; all ranks call it once after every optimizer step.

        An engine that steps its own master copy of the weights (ZeRO) must copy these back into it, or the
        next step undoes the change.
        """
        ...


@runtime_checkable
class EmbedsText(Protocol):
    """An objective that places images and captions in one space."""

    def encode_image(self, images_BCHW: Tensor) -> Tensor:
        """Image embeddings [B, E] of length 1."""
        ...

    def encode_text(self, tokens_BL: Tensor) -> Tensor:
        """Caption embeddings [B, E] of length 1."""
        ...


@runtime_checkable
class Classifies(Protocol):
    """An objective with a classification head over the vocabulary."""

    def image_features(self, images_BCHW: Tensor) -> Tensor:
        """What the head reads, [B, D]."""
        ...

    def head_logits(self, features_BD: Tensor) -> Tensor:
        """One logit per label of the vocabulary, [B, V], from `image_features`."""
        ...


def check_pairs(images_BCHW: Tensor, targets: Sized) -> None:
    """ValueError unless there are as many rows of targets as images."""
    if len(images_BCHW) != len(targets):
        raise ValueError(
            f"{len(images_BCHW)} images (shape {list(images_BCHW.shape)}) with the targets of {len(targets)} "
            f"samples: every image needs one row of targets."
        )
