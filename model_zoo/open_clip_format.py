"""Translation of our towers to open_clip's and back: names, shapes and configuration.

open_clip builds vision transformers and ModifiedResNets itself, and takes every other trunk from timm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from model_zoo.architectures import (
    ConvNextArchitecture,
    ImageTowerArchitecture,
    ResNetArchitecture,
    TextTowerArchitecture,
    VisionTransformerArchitecture,
)
from model_zoo.image_tower import timm_model
from model_zoo.renaming import rename

BLOCKS = "transformer.resblocks"
IMAGE_NAMES = {
    "cls_token": "class_embedding",
    "pos_embed": "positional_embedding",
    "patch_embed.proj": "conv1",
    "norm_pre": "ln_pre",
    "norm": "ln_post",
    "norm1": "ln_1",
    "attn.qkv.weight": "attn.in_proj_weight",
    "attn.qkv.bias": "attn.in_proj_bias",
    "attn.proj": "attn.out_proj",
    "norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
TEXT_NAMES = {
    "token_embedding": "token_embedding",
    "position_embedding": "positional_embedding",
    "norm": "ln_final",
    "attention_norm": "ln_1",
    "attention.qkv.weight": "attn.in_proj_weight",
    "attention.qkv.bias": "attn.in_proj_bias",
    "attention.projection": "attn.out_proj",
    "mlp_norm": "ln_2",
    "mlp_in": "mlp.c_fc",
    "mlp_out": "mlp.c_proj",
}
ATTENTION_POOL_NAMES = {"pos_embed": "positional_embedding", "q": "q_proj", "k": "k_proj", "v": "v_proj"}
PROJECTION = ("proj", "attnpool.c_proj.weight", "attnpool.c_proj.bias", "head.proj.weight", "head.proj.bias")


def image_configuration(
    architecture: ImageTowerArchitecture, *, image_size: int, pooling: str | None
) -> dict[str, Any]:
    """open_clip's `vision_cfg`; ValueError for a tower that it cannot express."""
    pooling = architecture.resolve_pooling(pooling)
    if isinstance(architecture, VisionTransformerArchitecture):
        return {
            "image_size": image_size,
            "patch_size": architecture.patch_size,
            "width": architecture.width,
            "layers": architecture.depth,
            "head_width": architecture.width // architecture.num_heads,
            "mlp_ratio": architecture.mlp_ratio,
            "pool_type": {"mean": "avg", "class_token": "tok"}[pooling],
        }
    if isinstance(architecture, ResNetArchitecture) and pooling == "attention":
        layers = list(architecture.stage_depths)
        return {"image_size": image_size, "layers": layers, "width": architecture.stem_width}
    return _timm_configuration(architecture, image_size, pooling)


def _timm_configuration(
    architecture: ImageTowerArchitecture, image_size: int, pooling: str
) -> dict[str, Any]:
    if architecture.name not in ("resnet50", "convnext_tiny"):
        raise ValueError(
            f"image_tower {architecture.name!r} with pooling {pooling!r} cannot be exported to open_clip, which takes "
            "such trunks from timm by name and has none of these sizes: export it with --format timm."
        )
    name, _ = timm_model(architecture, image_size=image_size, pooling=pooling)
    return {
        "image_size": image_size,
        "timm_model_name": name,
        "timm_pool": "",  # as the model has it
        "timm_proj": "linear",
        "timm_proj_bias": architecture.projection_bias,
    }


def text_configuration(
    text: TextTowerArchitecture, *, vocabulary_size: int, context_length: int
) -> dict[str, Any]:
    """open_clip's `text_cfg`."""
    return {
        "context_length": context_length,
        "vocab_size": vocabulary_size,
        "width": text.width,
        "heads": text.num_heads,
        "layers": text.depth,
        "mlp_ratio": text.mlp_ratio,
    }


def image_weights(
    weights: Mapping[str, Tensor],
    projection: Mapping[str, Tensor] | None,
    architecture: ImageTowerArchitecture,
    pooling: str | None,
) -> dict[str, Tensor]:
    """The state dict of open_clip's `visual`: the tower, and the projection into the joint embedding.

    `projection` is the state dict of an nn.Linear.  None writes the identity, because open_clip's towers always have a
    projection: its features are then the tower's, to the bit.
    """
    names = image_names(weights, architecture, pooling)
    flat = {"cls_token": (-1,), "pos_embed": (-1, architecture.width)}
    found = {names[name]: tensor.reshape(flat.get(name, tensor.shape)) for name, tensor in weights.items()}
    projection = _identity(architecture) if projection is None else projection
    if isinstance(architecture, VisionTransformerArchitecture):
        return found | {"proj": projection["weight"].T.contiguous()}
    prefix = "head.proj." if _is_from_timm(architecture, pooling) else "attnpool.c_proj."
    return found | {prefix + name: tensor for name, tensor in projection.items()}


def tower_weights(
    visual: Mapping[str, Tensor],
    architecture: ImageTowerArchitecture,
    pooling: str | None,
    expected: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Our tower's weights from the state dict of open_clip's `visual`, its projection left out.

    Names that our tower does not know are kept, for the caller to report.
    """
    ours = {theirs: name for name, theirs in image_names(expected, architecture, pooling).items()}
    found = {ours.get(name, name): tensor for name, tensor in visual.items() if name not in PROJECTION}
    for name in {"cls_token", "pos_embed"} & found.keys():
        found[name] = found[name].reshape(1, -1, found[name].shape[-1])
    return found


def text_weights(weights: Mapping[str, Tensor], projection: Tensor) -> dict[str, Tensor]:
    """The text tower and its projection [E, D] in the state dict of open_clip's `CLIP`."""
    found = {rename(name, TEXT_NAMES, BLOCKS): tensor for name, tensor in weights.items()}
    return found | {"text_projection": projection.T.contiguous()}


def image_names(
    names: Iterable[str], architecture: ImageTowerArchitecture, pooling: str | None
) -> dict[str, str]:
    """Our names in the image tower -> open_clip's in `visual`."""
    if _is_from_timm(architecture, pooling):
        return {name: f"trunk.{name}" for name in names}
    if isinstance(architecture, ResNetArchitecture):
        return {name: _resnet_name(name) for name in names}
    return {name: rename(name, IMAGE_NAMES, BLOCKS) for name in names}


def _is_from_timm(architecture: ImageTowerArchitecture, pooling: str | None) -> bool:
    is_resnet = isinstance(architecture, ResNetArchitecture)
    pools_mean = architecture.resolve_pooling(pooling) == "mean"
    return isinstance(architecture, ConvNextArchitecture) or (is_resnet and pools_mean)


def _resnet_name(name: str) -> str:
    """stem.conv1.bn.bias -> bn1.bias;  stages.0.2.conv3_1x1.conv.weight -> layer1.2.conv3.weight;  ..."""
    place, *parts = name.split(".")
    if place == "stem":
        layer, kind, parameter = parts
        return f"{kind}{layer[-1]}.{parameter}"
    if place == "head":
        return ".".join(["attnpool", ATTENTION_POOL_NAMES[parts[0]], *parts[1:]])
    stage, block, layer, *rest = parts
    prefix = f"layer{int(stage) + 1}.{block}"
    if layer == "shortcut":
        _, kind, parameter = rest
        return f"{prefix}.downsample.{('conv', 'bn').index(kind)}.{parameter}"
    kind, parameter = rest
    return f"{prefix}.{kind}{layer.removeprefix('conv')[0]}.{parameter}"


def _identity(architecture: ImageTowerArchitecture) -> dict[str, Tensor]:
    bias = {"bias": torch.zeros(architecture.width)} if architecture.projection_bias else {}
    return {"weight": torch.eye(architecture.width), **bias}
