"""The named towers, as plain numbers: no torch, so that a plan can read them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

OBJECTIVES = ("superclass", "clip")
NO_TEXT_TOWER = "none"
"""The `text_tower` of a superclass point: classification trains no text tower."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTowerArchitecture:
    """A CLIP-style vision transformer: class token, learned positions, LayerNorm before the blocks."""

    name: str
    patch_size: int  # pixels per side
    width: int
    depth: int  # blocks
    num_heads: int
    mlp_ratio: float = 4.0
    embed_width: int  # joint image-text embedding of CLIP
    text_tower: str  # the text tower CLIP pairs it with

    @property
    def mlp_width(self) -> int:
        return int(self.width * self.mlp_ratio)

    def num_patches(self, image_size: int) -> int:
        """Patches of a square image of `image_size` pixels; ValueError unless the patches tile it."""
        if image_size < 1 or image_size % self.patch_size:
            nearest = max(1, round(image_size / self.patch_size)) * self.patch_size
            raise ValueError(
                f"image_size {image_size} must be a positive multiple of the {self.patch_size}-pixel patches "
                f"of image_tower {self.name!r}: use {nearest}."
            )
        return int((image_size // self.patch_size) ** 2)


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


def _image_towers() -> Mapping[str, ImageTowerArchitecture]:
    rows = (
        # name, patch, width, depth, heads, joint width, text tower.
        # S: DeiT (arXiv 2012.12877); B, L, H: ViT (arXiv 2010.11929); joint widths and pairs: open_clip
        ("vit_s16", 16, 384, 12, 6, 384, "text_s"),
        ("vit_s14", 14, 384, 12, 6, 384, "text_s"),
        ("vit_b16", 16, 768, 12, 12, 512, "text_b"),
        ("vit_b14", 14, 768, 12, 12, 512, "text_b"),
        ("vit_l16", 16, 1024, 24, 16, 768, "text_l"),
        ("vit_l14", 14, 1024, 24, 16, 768, "text_l"),
        ("vit_h16", 16, 1280, 32, 16, 1024, "text_h"),
        ("vit_h14", 14, 1280, 32, 16, 1024, "text_h"),
        # ours, for small images on a CPU
        ("vit_nano8", 8, 48, 3, 3, 64, "text_nano"),
        ("vit_micro8", 8, 96, 4, 3, 96, "text_micro"),
        ("vit_tiny8", 8, 192, 6, 3, 128, "text_tiny"),
    )
    return MappingProxyType({row[0]: _image_tower(*row) for row in rows})


def _image_tower(
    name: str, patch_size: int, width: int, depth: int, num_heads: int, embed_width: int, text_tower: str
) -> ImageTowerArchitecture:
    return ImageTowerArchitecture(
        name=name,
        patch_size=patch_size,
        width=width,
        depth=depth,
        num_heads=num_heads,
        embed_width=embed_width,
        text_tower=text_tower,
    )


def _text_towers() -> Mapping[str, TextTowerArchitecture]:
    rows = (
        # name, width, depth, heads.   The first four as open_clip's ViT-S-16, B-16, L-16, H-14
        ("text_s", 384, 12, 6),
        ("text_b", 512, 12, 8),
        ("text_l", 768, 12, 12),
        ("text_h", 1024, 24, 16),
        # ours, for a CPU
        ("text_nano", 64, 2, 2),
        ("text_micro", 96, 3, 3),
        ("text_tiny", 128, 4, 4),
    )
    return MappingProxyType(
        {
            name: TextTowerArchitecture(name=name, width=width, depth=depth, num_heads=num_heads)
            for name, width, depth, num_heads in rows
        }
    )


IMAGE_TOWERS: Mapping[str, ImageTowerArchitecture] = _image_towers()
TEXT_TOWERS: Mapping[str, TextTowerArchitecture] = _text_towers()

Named = TypeVar("Named")


def image_tower_architecture(name: str) -> ImageTowerArchitecture:
    """The image tower of that name; ValueError with the nearest known name otherwise."""
    return _look_up("image_tower", name, IMAGE_TOWERS)


def text_tower_architecture(name: str) -> TextTowerArchitecture:
    """The text tower of that name; ValueError with the nearest known name otherwise."""
    return _look_up("text_tower", name, TEXT_TOWERS)


def objective_towers(
    *, objective: str, image_tower: str, text_tower: str
) -> tuple[ImageTowerArchitecture, TextTowerArchitecture | None]:
    """The towers an objective trains (no text tower: None).

    ValueError for an unknown name and for a combination that cannot be trained.
    """
    _look_up("objective", objective, dict.fromkeys(OBJECTIVES))
    image = image_tower_architecture(image_tower)
    if objective == "superclass":
        if text_tower != NO_TEXT_TOWER:
            raise ValueError(
                f"text_tower is {text_tower!r}, but objective 'superclass' trains no text tower: "
                f"use text_tower: {NO_TEXT_TOWER}."
            )
        return image, None
    if text_tower == NO_TEXT_TOWER:
        raise ValueError(
            f"text_tower is {NO_TEXT_TOWER!r}, but objective 'clip' contrasts images with captions: "
            f"use text_tower: {image.text_tower}, the usual one for {image_tower}."
        )
    return image, text_tower_architecture(text_tower)


def _look_up(key: str, name: str, known: Mapping[str, Named]) -> Named:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {key} {name!r}.{hint} Known: {', '.join(known)}.")
