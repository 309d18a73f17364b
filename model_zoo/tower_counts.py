"""Parameters and FLOPs of one tower, in closed form.  No torch.

counts.py says what counts as a FLOP; its tests compare these sums with the built towers.
"""

from __future__ import annotations

from functools import lru_cache

from model_zoo.architectures import (
    ConvNextArchitecture,
    ImageTowerArchitecture,
    ResNetArchitecture,
    TextTowerArchitecture,
    VisionTransformerArchitecture,
)
from model_zoo.block_counts import BlockCount, TowerCount
from model_zoo.convolution_counts import count_convnext, count_resnet
from model_zoo.tower_shapes import IMAGE_CHANNELS, TransformerShape


@lru_cache(maxsize=512)
def count_image_tower(
    image: ImageTowerArchitecture,
    *,
    image_size: int,
    pooling: str | None,
    patch_dropout: float = 0.0,
    drop_path: float = 0.0,
) -> TowerCount:
    """Parameters, and FLOPs of one image of `image_size` pixels per side.

    `drop_path` changes only the FLOPs of recomputed blocks.  ValueError for a value that the architecture does not
    allow.
    """
    pooling = image.resolve_pooling(pooling)
    image.check_image_size(image_size)
    image.check_patch_dropout(patch_dropout)
    if isinstance(image, VisionTransformerArchitecture):
        return _vision_transformer(image, image_size, patch_dropout, drop_path)
    if isinstance(image, ResNetArchitecture):
        return count_resnet(image, image_size, pooling)
    assert isinstance(image, ConvNextArchitecture)
    return count_convnext(image, image_size)


@lru_cache(maxsize=512)
def count_text_tower(text: TextTowerArchitecture, *, vocabulary_size: int, context_length: int) -> TowerCount:
    """Parameters, and FLOPs of one caption of `context_length` tokens; looking up embeddings costs none."""
    norm = 2 * text.width
    return TowerCount(
        parameters=(vocabulary_size + context_length) * text.width
        + norm
        + text.depth * _block_parameters(text),
        forward_flops=text.depth * _block_flops(text, context_length),
        score_flops=text.depth * _score_flops(text, context_length),
        blocks=_blocks(text, context_length, drop_path=0.0),
    )


def _vision_transformer(
    image: VisionTransformerArchitecture, image_size: int, patch_dropout: float, drop_path: float
) -> TowerCount:
    num_patches = image.num_patches(image_size)
    convolution = IMAGE_CHANNELS * image.patch_size**2 * image.width  # without bias
    tokens = (1 + 1 + num_patches) * image.width  # class token, positions
    norms = 2 * 2 * image.width  # before the first block and after the last
    num_tokens = 1 + image.num_kept_patches(image_size, patch_dropout)
    patches = 2 * num_patches * convolution  # all are embedded before some are dropped
    return TowerCount(
        parameters=convolution + tokens + norms + image.depth * _block_parameters(image),
        forward_flops=patches + image.depth * _block_flops(image, num_tokens),
        pixel_flops=patches,
        score_flops=image.depth * _score_flops(image, num_tokens),
        blocks=_blocks(image, num_tokens, drop_path),
    )


def _block_parameters(tower: TransformerShape) -> int:
    attention = 4 * tower.width * (tower.width + 1)
    mlp = 2 * tower.width * tower.mlp_width + tower.mlp_width + tower.width
    norms = 2 * 2 * tower.width
    return attention + mlp + norms


def _block_flops(tower: TransformerShape, num_tokens: int) -> int:
    projections = 2 * 4 * num_tokens * tower.width**2
    scores_and_values = 2 * _score_flops(tower, num_tokens)
    mlp = 2 * _last_product_flops(tower, num_tokens)
    return projections + scores_and_values + mlp


def _score_flops(tower: TransformerShape, num_tokens: int) -> int:
    """FLOPs of one block's product of queries and keys."""
    return 2 * num_tokens**2 * tower.width


def _last_product_flops(tower: TransformerShape, num_tokens: int) -> int:
    """FLOPs of the second linear layer of one block's MLP."""
    return 2 * num_tokens * tower.width * tower.mlp_width


def _blocks(tower: TransformerShape, num_tokens: int, drop_path: float) -> tuple[BlockCount, ...]:
    """The rate of stochastic depth rises from 0 in the first block to `drop_path` in the last."""
    sizes = {"parameters": _block_parameters(tower), "forward_flops": _block_flops(tower, num_tokens)}
    shorter = BlockCount.of(**sizes, needless_flops=_last_product_flops(tower, num_tokens))
    return (shorter, *(tower.depth - 1) * [BlockCount.of(**sizes) if drop_path else shorter])
