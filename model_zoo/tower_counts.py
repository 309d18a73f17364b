"""Parameters and forward FLOPs of one tower, in closed form.  No torch.

What counts as a FLOP is said in counts.py, whose tests hold these sums to the built towers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model_zoo.architectures import (
    ConvNextArchitecture,
    ImageTowerArchitecture,
    ResNetArchitecture,
    TextTowerArchitecture,
    VisionTransformerArchitecture,
)

IMAGE_CHANNELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerCount:
    """What one tower takes."""

    parameters: int
    forward_flops: int  # per sample
    pixel_flops: int = 0  # the part of them in the layer that sees the pixels, which need no gradient

    @property
    def train_flops(self) -> int:
        """Forward and backward: every product costs two more backward, one per factor that needs a gradient."""
        return 3 * self.forward_flops - self.pixel_flops


def count_image_tower(
    image: ImageTowerArchitecture, *, image_size: int, pooling: str | None, patch_dropout: float = 0.0
) -> TowerCount:
    """Of one image of `image_size` pixels; ValueError for what the architecture cannot do."""
    pooling = image.resolve_pooling(pooling)
    image.check_image_size(image_size)
    image.check_patch_dropout(patch_dropout)
    if isinstance(image, VisionTransformerArchitecture):
        return _vision_transformer(image, image_size, patch_dropout)
    if isinstance(image, ResNetArchitecture):
        return _resnet(image, image_size, pooling)
    assert isinstance(image, ConvNextArchitecture)
    return _convnext(image, image_size)


def count_text_tower(text: TextTowerArchitecture, *, vocabulary_size: int, context_length: int) -> TowerCount:
    """Of one caption; look-ups of token embeddings are free."""
    norm = 2 * text.width
    return TowerCount(
        parameters=(vocabulary_size + context_length) * text.width + norm + _block_parameters(text),
        forward_flops=_block_flops(text, context_length),
    )


def _vision_transformer(
    image: VisionTransformerArchitecture, image_size: int, patch_dropout: float
) -> TowerCount:
    num_patches = image.num_patches(image_size)
    convolution = IMAGE_CHANNELS * image.patch_size**2 * image.width  # without bias
    tokens = (1 + 1 + num_patches) * image.width  # class token, positions
    norms = 2 * 2 * image.width  # before the first block and after the last
    num_tokens = 1 + image.num_kept_patches(image_size, patch_dropout)
    patches = 2 * num_patches * convolution  # all are embedded before some are dropped
    return TowerCount(
        parameters=convolution + tokens + norms + _block_parameters(image),
        forward_flops=patches + _block_flops(image, num_tokens),
        pixel_flops=patches,
    )


class _Blocks(Protocol):
    """What image and text transformers share: a stack of blocks."""

    @property
    def width(self) -> int: ...

    @property
    def depth(self) -> int: ...

    @property
    def mlp_width(self) -> int: ...


def _block_parameters(tower: _Blocks) -> int:
    attention = 4 * tower.width * (tower.width + 1)
    mlp = 2 * tower.width * tower.mlp_width + tower.mlp_width + tower.width
    norms = 2 * 2 * tower.width
    return tower.depth * (attention + mlp + norms)


def _block_flops(tower: _Blocks, num_tokens: int) -> int:
    projections = 4 * num_tokens * tower.width**2
    scores_and_values = 2 * num_tokens**2 * tower.width
    mlp = 2 * num_tokens * tower.width * tower.mlp_width
    return tower.depth * 2 * (projections + scores_and_values + mlp)


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution of a ResNet, with the batch norm behind it."""

    inputs: int
    outputs: int
    kernel: int  # positions per side
    side: int  # output positions per side

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs * self.kernel**2 + 2 * self.outputs

    @property
    def flops(self) -> int:
        return 2 * self.inputs * self.outputs * self.kernel**2 * self.side**2


def _resnet(image: ResNetArchitecture, image_size: int, pooling: str) -> TowerCount:
    convolutions = _resnet_convolutions(image, image_size)
    parameters = sum(convolution.parameters for convolution in convolutions)
    flops = sum(convolution.flops for convolution in convolutions)
    if pooling == "attention":
        num_tokens = 1 + image.num_patches(image_size)  # the mean of the positions, and the positions
        parameters += num_tokens * image.width + 3 * image.width * (image.width + 1)
        flops += 2 * (3 * num_tokens * image.width**2 + 2 * num_tokens**2 * image.width)
    return TowerCount(parameters=parameters, forward_flops=flops, pixel_flops=convolutions[0].flops)


def _resnet_convolutions(image: ResNetArchitecture, image_size: int) -> list[_Convolution]:
    width, side = image.stem_width, image_size // 2
    half = width // 2
    found = [
        _Convolution(IMAGE_CHANNELS, half, 3, side),
        _Convolution(half, half, 3, side),
        _Convolution(half, width, 3, side),
    ]
    side //= 2  # average pool
    for stage, (depth, outputs) in enumerate(zip(image.stage_depths, image.stage_widths, strict=True)):
        for block in range(depth):
            before = side
            if stage and not block:
                side //= 2  # average pools behind the second convolution and before the shortcut
            inner = outputs // 4
            found += [
                _Convolution(width, inner, 1, before),
                _Convolution(inner, inner, 3, before),
                _Convolution(inner, outputs, 1, side),
            ]
            if not block:
                found.append(_Convolution(width, outputs, 1, side))  # the shortcut
            width = outputs
    return found


def _convnext(image: ConvNextArchitecture, image_size: int) -> TowerCount:
    side, inputs = image_size // 4, image.stage_widths[0]
    stem = IMAGE_CHANNELS * 4**2 * inputs  # 4-pixel patches
    parameters = stem + inputs + 2 * inputs  # bias, LayerNorm
    pixel_flops = flops = 2 * stem * side**2
    for stage, (depth, width) in enumerate(zip(image.stage_depths, image.stage_widths, strict=True)):
        if stage:
            side //= 2
            parameters += 2 * inputs + 2**2 * inputs * width + width  # LayerNorm, 2 x 2 convolution, bias
            flops += 2 * 2**2 * inputs * width * side**2
        products = 7**2 * width + 2 * 4 * width**2  # depthwise convolution, MLP of ratio 4
        vectors = (1 + 2 + 4 + 1 + 1) * width  # bias, LayerNorm, both biases of the MLP, scale of the block
        parameters += depth * (products + vectors)
        flops += depth * 2 * products * side**2
        inputs = width
    norm = 2 * inputs
    return TowerCount(parameters=parameters + norm, forward_flops=flops, pixel_flops=pixel_flops)
