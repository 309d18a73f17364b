"""Image towers, built through timm, with the initial weights that CLIP gives them."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn
from torch.nn import init

from model_zoo.architectures import (
    ConvNextArchitecture,
    ImageTowerArchitecture,
    ResNetArchitecture,
    VisionTransformerArchitecture,
)
from model_zoo.batch_norm import replace_batch_norms


def build_image_tower(
    architecture: ImageTowerArchitecture,
    *,
    image_size: int,
    pooling: str | None = None,
    patch_dropout: float = 0.0,
    drop_path: float = 0.0,
    batch_norm_samples: int = 256,
) -> nn.Module:
    """A module from images [B, 3, image_size, image_size] to features [B, width]: a model of timm.

    `pooling`: one of the architecture's `poolings`, None for the first.  `patch_dropout` and `drop_path`: rates, used
    in training only.  `batch_norm_samples`: group size, see batch_norm.py.  ValueError for a value that the
    architecture does not allow.
    """
    architecture.check_patch_dropout(patch_dropout)
    if not 0 <= drop_path < 1:
        raise ValueError(f"drop_path {drop_path} must be at least 0 and below 1.")
    name, arguments = timm_model(architecture, image_size=image_size, pooling=pooling)
    if architecture.has_patch_tokens:
        arguments |= {"patch_drop_rate": patch_dropout, "weight_init": "skip"}
    tower: nn.Module = timm.create_model(name, drop_path_rate=drop_path, **arguments)
    if isinstance(architecture, VisionTransformerArchitecture):
        _initialise_vision_transformer(tower, architecture.width)
    elif isinstance(architecture, ResNetArchitecture):
        _initialise_resnet(tower, architecture.width)
        replace_batch_norms(tower, batch_norm_samples)
    return tower


def timm_model(
    architecture: ImageTowerArchitecture, *, image_size: int, pooling: str | None = None
) -> tuple[str, dict[str, Any]]:
    """The name and arguments, fit for JSON, with which `timm.create_model` makes the tower.

    ValueError for an image size or a pooling that does not fit.
    """
    architecture.check_image_size(image_size)
    pooling = architecture.resolve_pooling(pooling)
    if isinstance(architecture, VisionTransformerArchitecture):
        return "vit_base_patch16_clip_224", _vision_transformer_arguments(architecture, image_size, pooling)
    if isinstance(architecture, ResNetArchitecture):
        narrower = {"num_classes": 0, "width_factor": architecture.stem_width / 64}  # CLIP's stem has 64
        if pooling == "mean":
            return "resnet50_clip_gap", narrower
        return "resnet50_clip", narrower | {"img_size": image_size}
    assert isinstance(architecture, ConvNextArchitecture)
    shape = {"depths": list(architecture.stage_depths), "dims": list(architecture.stage_widths)}
    return "convnext_tiny", {"num_classes": 0, **shape}


def _vision_transformer_arguments(
    architecture: VisionTransformerArchitecture, image_size: int, pooling: str
) -> dict[str, Any]:
    return {
        "num_classes": 0,
        "img_size": image_size,
        "patch_size": architecture.patch_size,
        "embed_dim": architecture.width,
        "depth": architecture.depth,
        "num_heads": architecture.num_heads,
        "mlp_ratio": architecture.mlp_ratio,
        "global_pool": {"mean": "avg", "class_token": "token"}[pooling],
        "fc_norm": False,  # the last LayerNorm covers all tokens, before the pooling
    }


def _initialise_vision_transformer(tower: Any, width: int) -> None:
    """CLIP's initial weights (OpenAI's and open_clip's), which SuperClass inherits, in place of timm's.

    Tokens N(0, 1/width); attention as torch.nn.MultiheadAttention; convolution and MLP keep torch's defaults.
    """
    init.normal_(tower.cls_token, std=width**-0.5)
    init.normal_(tower.pos_embed, std=width**-0.5)
    for block in tower.blocks:
        init.xavier_uniform_(block.attn.qkv.weight)
        init.zeros_(block.attn.qkv.bias)
        init.zeros_(block.attn.proj.bias)


def _initialise_resnet(tower: Any, width: int) -> None:
    """CLIP's initial weights of a ResNet, in place of timm's.

    Layers keep torch's defaults, the last batch norm's scale of each block is 0 (timm's choice as well), the attention
    pool's projections and positions are N(0, 1/width).
    """
    for part in tower.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            part.reset_parameters()
    if hasattr(tower.head, "pos_embed"):  # the attention pool
        init.normal_(tower.head.pos_embed, std=width**-0.5)
        for linear in (tower.head.q, tower.head.k, tower.head.v):
            init.normal_(linear.weight, std=width**-0.5)
