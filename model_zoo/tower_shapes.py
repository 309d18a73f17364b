"""The kinds of towers, as plain numbers: no torch, so that a plan can read them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

IMAGE_CHANNELS = 3  # red, green, blue
CONVNEXT_MLP_RATIO = 4  # arXiv 2201.03545, section 2.4
CONVNEXT_STEM_STRIDE = 4  # pixels per side of the patches of its stem


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTowerArchitecture(ABC):
    """What every image tower has: a name, the width of its features, and its joint width and text tower in CLIP."""

    poolings: ClassVar[tuple[str, ...]]  # ways from the last feature map to one feature, the usual one first
    has_patch_tokens: ClassVar[bool] = False  # separate patches, of which patch dropout can leave some out
    has_batch_norm: ClassVar[bool] = False  # features of one image depend on the others while training
    projection_bias: ClassVar[bool] = False  # CLIP's projection into the joint embedding has a bias

    name: str
    embed_width: int  # joint image-text embedding of CLIP
    text_tower: str  # the text tower CLIP pairs it with

    @property
    @abstractmethod
    def width(self) -> int:
        """Features per image, whatever the pooling."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels per side of one position of the last feature map; the image size is a multiple of it."""

    def num_patches(self, image_size: int) -> int:
        """Positions of the last feature map of a square image; ValueError unless the stride divides it."""
        self.check_image_size(image_size)
        return int((image_size // self.stride) ** 2)

    def check_image_size(self, image_size: int) -> None:
        """ValueError with the nearest size that fits unless `image_size` pixels are a multiple of the stride."""
        if image_size < 1 or image_size % self.stride:
            nearest = max(1, round(image_size / self.stride)) * self.stride
            raise ValueError(
                f"image_size {image_size} must be a positive multiple of the {self.stride}-pixel patches "
                f"of image_tower {self.name!r}: use {nearest}."
            )

    def resolve_pooling(self, pooling: str | None) -> str:
        """`pooling`, or the usual one for None; ValueError for one this tower does not have."""
        if pooling is None:
            return self.poolings[0]
        if pooling not in self.poolings:
            raise ValueError(
                f"pooling {pooling!r} is not one of image_tower {self.name!r}: use {' or '.join(self.poolings)}."
            )
        return pooling

    def check_patch_dropout(self, patch_dropout: float) -> None:
        """ValueError unless the share of patches to leave out is in [0, 1), and 0 where there are none."""
        if not 0 <= patch_dropout < 1:
            raise ValueError(f"patch_dropout {patch_dropout} must be at least 0 and below 1.")
        if patch_dropout and not self.has_patch_tokens:
            raise ValueError(
                f"patch_dropout {patch_dropout} with image_tower {self.name!r}: convolutions need the whole "
                f"image. Use patch_dropout: 0, or a vision transformer."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionTransformerArchitecture(ImageTowerArchitecture):
    """A CLIP-style vision transformer: class token, learned positions, LayerNorm before the blocks.

    `mean` is the mean of the patch tokens after the last LayerNorm (SuperClass); `class_token` is CLIP's.
    """

    poolings = ("mean", "class_token")
    has_patch_tokens = True

    width: int
    patch_size: int  # pixels per side
    depth: int  # blocks
    num_heads: int
    mlp_ratio: float = 4.0

    @property
    def stride(self) -> int:
        return self.patch_size

    @property
    def mlp_width(self) -> int:
        return int(self.width * self.mlp_ratio)

    def num_kept_patches(self, image_size: int, patch_dropout: float) -> int:
        """Patches that a training step sees: at least one, fractions cut, as timm's PatchDropout keeps them."""
        self.check_patch_dropout(patch_dropout)
        num_patches = self.num_patches(image_size)
        return max(1, int(num_patches * (1.0 - patch_dropout))) if patch_dropout else num_patches


@dataclass(frozen=True, kw_only=True, slots=True)
class ResNetArchitecture(ImageTowerArchitecture):
    """CLIP's ModifiedResNet-50 (arXiv 2103.00020, section 2.4) or a narrower one: three-convolution stem.

    `attention` is CLIP's attention pool without its output projection, whose part the projection into the
    joint embedding plays (with its bias); `mean` is the mean over positions.
    """

    poolings = ("attention", "mean")
    has_batch_norm = True
    projection_bias = True
    stage_depths: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)  # blocks; all but the first halve the resolution
    stride = 32

    stem_width: int  # channels after the stem, twice those of its first two convolutions

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels after each stage; the inner convolutions of its blocks have a quarter of them."""
        return tuple(4 * self.stem_width * 2**stage for stage in range(len(self.stage_depths)))

    @property
    def width(self) -> int:
        return self.stage_widths[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvNextArchitecture(ImageTowerArchitecture):
    """ConvNeXt (arXiv 2201.03545): `mean` is the mean over positions, then LayerNorm, as published."""

    poolings = ("mean",)
    stride = 32

    stage_depths: tuple[int, ...]  # blocks; every stage but the first halves the resolution
    stage_widths: tuple[int, ...]

    @property
    def width(self) -> int:
        return self.stage_widths[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTowerArchitecture:
    """CLIP's causal text transformer."""

    name: str
    width: int
    depth: int  # blocks
    num_heads: int
    mlp_ratio: float = 4.0

    @property
    def mlp_width(self) -> int:
        return int(self.width * self.mlp_ratio)


class TransformerShape(Protocol):
    """What image and text transformers share: a stack of equal blocks."""

    @property
    def width(self) -> int: ...

    @property
    def depth(self) -> int: ...

    @property
    def num_heads(self) -> int: ...

    @property
    def mlp_width(self) -> int: ...
