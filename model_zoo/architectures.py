"""The named towers.  No torch, so that a plan can read them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from model_zoo.tower_shapes import (
    ConvNextArchitecture,
    ImageTowerArchitecture,
    ResNetArchitecture,
    TextTowerArchitecture,
    VisionTransformerArchitecture,
)

__all__ = [
    "IMAGE_TOWERS",
    "TEXT_TOWERS",
    "ConvNextArchitecture",
    "ImageTowerArchitecture",
    "ResNetArchitecture",
    "TextTowerArchitecture",
    "VisionTransformerArchitecture",
    "image_tower_architecture",
    "look_up",
    "text_tower_architecture",
]


def _vision_transformer(
    name: str, patch_size: int, width: int, depth: int, num_heads: int, embed_width: int, text_tower: str
) -> ImageTowerArchitecture:
    return VisionTransformerArchitecture(
        name=name,
        patch_size=patch_size,
        width=width,
        depth=depth,
        num_heads=num_heads,
        embed_width=embed_width,
        text_tower=text_tower,
    )


def _text(name: str, width: int, depth: int, num_heads: int) -> TextTowerArchitecture:
    return TextTowerArchitecture(name=name, width=width, depth=depth, num_heads=num_heads)


_IMAGE_TOWERS = (
    # patch, width, depth, heads, joint width, text tower.
    # S: DeiT (arXiv 2012.12877); B, L, H: ViT (arXiv 2010.11929); joint widths and pairs: open_clip
    _vision_transformer("vit_s16", 16, 384, 12, 6, 384, "text_s"),
    _vision_transformer("vit_s14", 14, 384, 12, 6, 384, "text_s"),
    _vision_transformer("vit_b16", 16, 768, 12, 12, 512, "text_b"),
    _vision_transformer("vit_b14", 14, 768, 12, 12, 512, "text_b"),
    _vision_transformer("vit_l16", 16, 1024, 24, 16, 768, "text_l"),
    _vision_transformer("vit_l14", 14, 1024, 24, 16, 768, "text_l"),
    _vision_transformer("vit_h16", 16, 1280, 32, 16, 1024, "text_h"),
    _vision_transformer("vit_h14", 14, 1280, 32, 16, 1024, "text_h"),
    # CLIP's RN50, and the ConvNeXt-T of arXiv 2201.03545; joint widths and pairs: open_clip
    ResNetArchitecture(
        name="resnet50",
        stem_width=64,
        embed_width=1024,
        text_tower="text_b",
    ),
    ConvNextArchitecture(
        name="convnext_tiny",
        stage_depths=(3, 3, 9, 3),
        stage_widths=(96, 192, 384, 768),
        embed_width=1024,
        text_tower="text_b",
    ),
    # ours, for small images on a CPU
    _vision_transformer("vit_nano8", 8, 48, 3, 3, 64, "text_nano"),
    _vision_transformer("vit_micro8", 8, 96, 4, 3, 96, "text_micro"),
    _vision_transformer("vit_tiny8", 8, 192, 6, 3, 128, "text_tiny"),
    ResNetArchitecture(
        name="resnet_nano",
        stem_width=8,
        embed_width=64,
        text_tower="text_nano",
    ),
    ConvNextArchitecture(
        name="convnext_nano",
        stage_depths=(1, 1, 2, 1),
        stage_widths=(24, 48, 96, 144),
        embed_width=64,
        text_tower="text_nano",
    ),
)

_TEXT_TOWERS = (
    # width, depth, heads.   The first four as open_clip's ViT-S-16, B-16, L-16, H-14
    _text("text_s", 384, 12, 6),
    _text("text_b", 512, 12, 8),
    _text("text_l", 768, 12, 12),
    _text("text_h", 1024, 24, 16),
    # ours, for a CPU
    _text("text_nano", 64, 2, 2),
    _text("text_micro", 96, 3, 3),
    _text("text_tiny", 128, 4, 4),
)

IMAGE_TOWERS: Mapping[str, ImageTowerArchitecture] = MappingProxyType(
    {tower.name: tower for tower in _IMAGE_TOWERS}
)
TEXT_TOWERS: Mapping[str, TextTowerArchitecture] = MappingProxyType(
    {tower.name: tower for tower in _TEXT_TOWERS}
)

Named = TypeVar("Named")


def image_tower_architecture(name: str) -> ImageTowerArchitecture:
    """The image tower of that name; ValueError with the nearest known name otherwise."""
    return look_up("image_tower", name, IMAGE_TOWERS)


def text_tower_architecture(name: str) -> TextTowerArchitecture:
    """The text tower of that name; ValueError with the nearest known name otherwise."""
    return look_up("text_tower", name, TEXT_TOWERS)


def look_up(key: str, name: str, known: Mapping[str, Named]) -> Named:
    """The value of that name; ValueError with the nearest known name otherwise, `key` naming what it is."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {key} {name!r}.{hint} Known: {', '.join(known)}.")
