"""CLIP-style vision transformers, built through timm."""

from __future__ import annotations

from functools import partial

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from model_zoo.architectures import ImageTowerArchitecture

LAYER_NORM_EPSILON = 1e-5  # torch's default, as in CLIP; timm's own default is 1e-6


def build_image_tower(
    architecture: ImageTowerArchitecture, *, image_size: int, activation_checkpointing: bool = False
) -> nn.Module:
    """A module from images [B, 3, image_size, image_size] to features [B, width].

    The class token attends, the last LayerNorm covers all tokens, and the feature is the mean of the patch
    tokens, as in SuperClass.  It is a plain timm VisionTransformer, whose weights timm can load.
    """
    architecture.num_patches(image_size)  # raises unless the patches tile the image
    tower = VisionTransformer(
        img_size=image_size,
        patch_size=architecture.patch_size,
        embed_dim=architecture.width,
        depth=architecture.depth,
        num_heads=architecture.num_heads,
        mlp_ratio=architecture.mlp_ratio,
        num_classes=0,
        global_pool="avg",
        fc_norm=False,
        pre_norm=True,  # LayerNorm before the first block, patch convolution without bias
        norm_layer=partial(nn.LayerNorm, eps=LAYER_NORM_EPSILON),
        act_layer=nn.GELU,
        weight_init="skip",
    )
    _initialise(tower, architecture.width)
    tower.set_grad_checkpointing(activation_checkpointing)
    module: nn.Module = tower
    return module


def _initialise(tower: VisionTransformer, width: int) -> None:
    """CLIP's initial weights (OpenAI's and open_clip's), which SuperClass inherits, in place of timm's.

    Tokens N(0, 1/width); attention as torch.nn.MultiheadAttention; convolution and MLP keep torch's defaults.
    """
    nn.init.normal_(tower.cls_token, std=width**-0.5)
    nn.init.normal_(tower.pos_embed, std=width**-0.5)
    for block in tower.blocks:
        nn.init.xavier_uniform_(block.attn.qkv.weight)
        nn.init.zeros_(block.attn.qkv.bias)
        nn.init.zeros_(block.attn.proj.bias)
