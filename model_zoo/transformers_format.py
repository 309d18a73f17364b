"""Translation of our vision transformers to transformers' CLIPVisionModel and back: names, shapes, configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model_zoo.architectures import ImageTowerArchitecture, VisionTransformerArchitecture
from model_zoo.renaming import rename

BLOCKS = "vision_model.encoder.layers"
NAMES = {
    "cls_token": "vision_model.embeddings.class_embedding",
    "pos_embed": "vision_model.embeddings.position_embedding.weight",
    "patch_embed.proj": "vision_model.embeddings.patch_embedding",
    "norm_pre": "vision_model.pre_layrnorm",  # as it is spelt there
    "norm": "vision_model.post_layernorm",
    "norm1": "layer_norm1",
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.proj": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "mlp": "mlp",
}


def configuration(architecture: ImageTowerArchitecture, *, image_size: int) -> dict[str, Any]:
    """The `config.json` of a CLIPVisionModel; ValueError for a tower that is no vision transformer."""
    if not isinstance(architecture, VisionTransformerArchitecture):
        raise ValueError(
            f"image_tower {architecture.name!r} cannot be exported to transformers, whose CLIPVisionModel is a vision "
            "transformer: export it with --format timm or open_clip."
        )
    return {
        "architectures": ["CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "hidden_size": architecture.width,
        "intermediate_size": architecture.mlp_width,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.num_heads,
        "num_channels": 3,
        "image_size": image_size,
        "patch_size": architecture.patch_size,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": architecture.embed_width,
        "torch_dtype": "float32",
    }


def image_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a CLIPVisionModel from our tower's."""
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if ".qkv." in name:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                found[rename(name.replace(".qkv.", f".{letter}."), NAMES, BLOCKS)] = part.contiguous()
        elif name in ("cls_token", "pos_embed"):
            found[rename(name, NAMES, BLOCKS)] = tensor.squeeze(0).squeeze(0)
        else:
            found[rename(name, NAMES, BLOCKS)] = tensor
    return found


def tower_weights(theirs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tower's weights from the state dict of a CLIPVisionModel; foreign names are kept, to be reported."""
    left = dict(theirs)
    found: dict[str, Tensor] = {}
    for name in expected:
        letters = "qkv" if ".qkv." in name else " "
        names = [rename(name.replace(".qkv.", f".{letter}."), NAMES, BLOCKS) for letter in letters]
        if all(theirs_name in left for theirs_name in names):
            found[name] = torch.cat([left.pop(theirs_name) for theirs_name in names])
    for name in {"cls_token", "pos_embed"} & found.keys():
        found[name] = found[name].reshape(1, -1, found[name].shape[-1])
    return found | left
