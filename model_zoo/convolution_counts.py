"""Parameters and FLOPs of the convolutional image towers, in closed form.  No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model_zoo.architectures import ConvNextArchitecture, ImageTowerArchitecture, ResNetArchitecture
from model_zoo.block_counts import BlockCount, TowerCount
from model_zoo.tower_shapes import CONVNEXT_MLP_RATIO, CONVNEXT_STEM_STRIDE, IMAGE_CHANNELS


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


def count_resnet(image: ResNetArchitecture, image_size: int, pooling: str) -> TowerCount:
    """Parameters and FLOPs of CLIP's ModifiedResNet, with or without its attention pool."""
    stem = _resnet_stem(image, image_size)
    blocks = list(_resnet_blocks(image, image_size))
    convolutions = [*stem, *(convolution for block in blocks for convolution in block)]
    parameters = sum(convolution.parameters for convolution in convolutions)
    flops, score_flops = sum(convolution.flops for convolution in convolutions), 0
    if pooling == "attention":
        num_tokens = 1 + image.num_patches(image_size)  # the mean of the positions, and the positions
        parameters += num_tokens * image.width + 3 * image.width * (image.width + 1)
        score_flops = 2 * num_tokens**2 * image.width
        flops += 2 * 3 * num_tokens * image.width**2 + 2 * score_flops
    return TowerCount(
        parameters=parameters,
        forward_flops=flops,
        pixel_flops=stem[0].flops,
        score_flops=score_flops,
        blocks=tuple(map(_resnet_block, blocks)),
    )


def batch_norm_statistics(image: ImageTowerArchitecture) -> int:
    """How many numbers the batch norms of a tower sum over ranks per step; 0 without batch norms.

    Per layer a mean and a variance of each channel, and the number of groups: see GroupedBatchNorm.take_counted.
    """
    if not isinstance(image, ResNetArchitecture):
        return 0
    blocks = _resnet_blocks(image, image.stride)
    convolutions = [*_resnet_stem(image, image.stride), *(part for block in blocks for part in block)]
    return sum(2 * convolution.outputs + 1 for convolution in convolutions)


def _resnet_stem(image: ResNetArchitecture, image_size: int) -> list[_Convolution]:
    width, side = image.stem_width, image_size // 2
    half = width // 2
    return [
        _Convolution(IMAGE_CHANNELS, half, 3, side),
        _Convolution(half, half, 3, side),
        _Convolution(half, width, 3, side),
    ]


def _resnet_block(convolutions: list[_Convolution]) -> BlockCount:
    """A block that is recomputed whole: a norm follows its last convolution and needs the result."""
    return BlockCount.of(
        parameters=sum(convolution.parameters for convolution in convolutions),
        forward_flops=sum(convolution.flops for convolution in convolutions),
    )


def _resnet_blocks(image: ResNetArchitecture, image_size: int) -> Iterator[list[_Convolution]]:
    width, side = image.stem_width, image_size // 4  # after an average pool
    for stage, (depth, outputs) in enumerate(zip(image.stage_depths, image.stage_widths, strict=True)):
        for block in range(depth):
            before = side
            if stage and not block:
                side //= 2  # average pools behind the second convolution and before the shortcut
            inner = outputs // 4
            shortcut = [] if block else [_Convolution(width, outputs, 1, side)]
            yield [
                _Convolution(width, inner, 1, before),
                _Convolution(inner, inner, 3, before),
                _Convolution(inner, outputs, 1, side),
                *shortcut,
            ]
            width = outputs


def count_convnext(image: ConvNextArchitecture, image_size: int) -> TowerCount:
    """Parameters and FLOPs of a ConvNeXt with its last LayerNorm."""
    side, inputs = image_size // CONVNEXT_STEM_STRIDE, image.stage_widths[0]
    stem = IMAGE_CHANNELS * CONVNEXT_STEM_STRIDE**2 * inputs
    parameters = stem + inputs + 2 * inputs  # bias, LayerNorm
    pixel_flops = flops = 2 * stem * side**2
    blocks: list[BlockCount] = []
    for stage, (depth, width) in enumerate(zip(image.stage_depths, image.stage_widths, strict=True)):
        if stage:
            side //= 2
            parameters += 2 * inputs + 2**2 * inputs * width + width  # LayerNorm, 2 x 2 convolution, bias
            flops += 2 * 2**2 * inputs * width * side**2
        products = 7**2 * width + 2 * CONVNEXT_MLP_RATIO * width**2  # depthwise convolution, MLP
        # bias, LayerNorm, both biases of the MLP, scale of the block
        vectors = (1 + 2 + CONVNEXT_MLP_RATIO + 1 + 1) * width
        # the block's scale needs the result of its last product
        block = BlockCount.of(parameters=products + vectors, forward_flops=2 * products * side**2)
        blocks += depth * [block]
        inputs = width
    return TowerCount(
        parameters=parameters + sum(block.parameters for block in blocks) + 2 * inputs,  # and a LayerNorm
        forward_flops=flops + sum(block.forward_flops for block in blocks),
        pixel_flops=pixel_flops,
        blocks=tuple(blocks),
    )
