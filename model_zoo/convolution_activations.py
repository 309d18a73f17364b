"""Bytes of activations of convolutional towers, in closed form; activation_counts.py says how they are counted."""

# Letters in comments.  E elements of a feature map, p bytes of an element of products.

from __future__ import annotations

from model_zoo.activation_segments import FP32, Arithmetic, Segment
from model_zoo.architectures import ConvNextArchitecture, ResNetArchitecture
from model_zoo.tower_shapes import CONVNEXT_MLP_RATIO, CONVNEXT_STEM_STRIDE, IMAGE_CHANNELS


def resnet_segments(
    image: ResNetArchitecture, arithmetic: Arithmetic, image_size: int, pooling: str
) -> tuple[Segment, ...]:
    """Stem, bottleneck blocks and pooling of CLIP's ResNet."""
    side, width = image_size // 4, image.stem_width
    segments = [_resnet_stem(image, arithmetic, image_size)]
    for stage, (depth, outputs) in enumerate(zip(image.stage_depths, image.stage_widths, strict=True)):
        for block in range(depth):
            halves = stage > 0 and block == 0
            segments.append(
                _bottleneck(arithmetic, width, outputs, side, halves=halves, has_shortcut=block == 0)
            )
            side, width = side // 2 if halves else side, outputs
    return (*segments, _resnet_pooling(image, arithmetic, image_size, pooling))


def _resnet_stem(image: ResNetArchitecture, arithmetic: Arithmetic, image_size: int) -> Segment:
    product, half, width = arithmetic.product_bytes, image.stem_width // 2, image.stem_width
    pixels, positions = IMAGE_CHANNELS * image_size**2, (image_size // 2) ** 2
    matrices = 9 * (IMAGE_CHANNELS * half + half * half + half * width)
    maps = positions * (half + half + width)
    return Segment(
        is_block=False,
        # the pixels; of each convolution its output, and that normalised (rectified in place)
        kept=(pixels + 2 * maps) * product,
        forward=pixels * FP32 + (pixels + 2 * positions * (half + width)) * product,
        backward=2 * positions * width * product,
        weights=arithmetic.copied_weights(matrices),
        weight_gradient=9 * half * width * product,
        parameters=matrices + 2 * (half + half + width),
    )


def _bottleneck(
    arithmetic: Arithmetic, inputs: int, outputs: int, side: int, *, halves: bool, has_shortcut: bool
) -> Segment:
    product, inner, after = arithmetic.product_bytes, outputs // 4, side // 2 if halves else side
    given, made = inputs * side**2, outputs * after**2
    narrow, pooled = inner * side**2, inner * after**2 if halves else 0
    shortcut = (inputs * after**2 if halves else 0) + made if has_shortcut else 0  # pooled input, convolution
    convolved = 2 * narrow + made + (made if has_shortcut else 0)
    matrices = inputs * inner + 9 * inner**2 + inner * outputs + (inputs * outputs if has_shortcut else 0)
    norms = 2 * (2 * inner + outputs + (outputs if has_shortcut else 0))
    return Segment(
        is_block=True,
        input=given * product,
        kept=(given + 4 * narrow + pooled + made + shortcut) * product,
        operations=(given + convolved) * product,
        forward=(given + max(3 * narrow, pooled + 3 * made)) * product,
        backward=(2 * made + max(given, made)) * product,
        weights=arithmetic.copied_weights(matrices),
        weight_gradient=inner * outputs * product,
        parameters=matrices + norms,
    )


def _resnet_pooling(
    image: ResNetArchitecture, arithmetic: Arithmetic, image_size: int, pooling: str
) -> Segment:
    product, width, num_patches = arithmetic.product_bytes, image.width, image.num_patches(image_size)
    given = num_patches * width * product
    if pooling == "mean":
        return Segment(
            is_block=False,
            kept=given,
            forward=given,
            backward=given,
            weights=0,
            weight_gradient=0,
            parameters=0,
        )
    num_tokens = 1 + num_patches
    stream, feature, matrices = num_tokens * width * FP32, num_tokens * width * product, 3 * width**2
    # the inputs of queries, keys and values: one bfloat16 copy of the tokens each; in float32 the tokens themselves
    copies = 3 * feature if arithmetic.bf16_autocast else stream
    return Segment(
        is_block=False,
        kept=given + copies + 4 * feature,
        forward=given + stream + 4 * feature,
        backward=stream + 3 * feature,
        weights=arithmetic.copied_weights(matrices),
        weight_gradient=width**2 * product,
        parameters=num_tokens * width + matrices + 3 * width,
    )


def convnext_segments(
    image: ConvNextArchitecture, arithmetic: Arithmetic, image_size: int
) -> tuple[Segment, ...]:
    """Stem, downsampling layers, blocks and the last norm of a ConvNeXt."""
    side, inputs = image_size // CONVNEXT_STEM_STRIDE, image.stage_widths[0]
    segments = [_convnext_stem(arithmetic, image_size, inputs)]
    for stage, (depth, width) in enumerate(zip(image.stage_depths, image.stage_widths, strict=True)):
        if stage:
            segments.append(_downsampling(arithmetic, inputs, width, side))
            side //= 2
        segments += [_convnext_block(arithmetic, width, side)] * depth
        inputs = width
    last = inputs * side**2 * FP32
    after = Segment(
        is_block=False,
        kept=inputs * FP32,
        forward=last,
        backward=last,
        weights=0,
        weight_gradient=0,
        parameters=2 * inputs,
    )
    return (*segments, after)


def _convnext_stem(arithmetic: Arithmetic, image_size: int, width: int) -> Segment:
    product, pixels = arithmetic.product_bytes, IMAGE_CHANNELS * image_size**2
    made = width * (image_size // CONVNEXT_STEM_STRIDE) ** 2
    convolution = IMAGE_CHANNELS * CONVNEXT_STEM_STRIDE**2 * width
    return Segment(
        is_block=False,
        kept=pixels * product + made * arithmetic.norm_bytes,
        forward=pixels * (FP32 + product) + made * (product + 2 * arithmetic.norm_bytes),
        backward=2 * made * FP32,
        weights=arithmetic.copied_weights(convolution),
        weight_gradient=0,
        parameters=convolution + width + 2 * width,
    )


def _downsampling(arithmetic: Arithmetic, inputs: int, outputs: int, side: int) -> Segment:
    product, given = arithmetic.product_bytes, inputs * side**2
    made = outputs * (side // 2) ** 2
    matrix = 2**2 * inputs * outputs
    return Segment(
        is_block=False,
        kept=given * (FP32 + product),  # input of the norm, and of the convolution
        forward=given * (2 * FP32 + product) + made * product,
        backward=made * FP32 + given * (FP32 + product),
        weights=arithmetic.copied_weights(matrix),
        weight_gradient=matrix * product,
        parameters=2 * inputs + matrix + outputs,
    )


def _convnext_block(arithmetic: Arithmetic, width: int, side: int) -> Segment:
    product, elements = arithmetic.product_bytes, width * side**2
    stream, feature, hidden = elements * FP32, elements * product, CONVNEXT_MLP_RATIO * elements * product
    matrices = 7**2 * width + 2 * CONVNEXT_MLP_RATIO * width**2
    kept_of_norm = elements * arithmetic.norm_bytes
    return Segment(
        is_block=True,
        input=stream,
        keeps_input=not arithmetic.bf16_autocast,  # autocast keeps a copy for the depthwise convolution instead
        # inputs of the convolution, the norm, the MLP's first product, GELU and second product, the block's scale
        kept=feature + kept_of_norm + feature + 2 * hidden + feature,
        operations=stream + feature + hidden + feature,
        forward=stream + feature + 2 * hidden,
        backward=stream + feature + hidden,
        weights=arithmetic.copied_weights(matrices),
        weight_gradient=CONVNEXT_MLP_RATIO * width**2 * product,
        parameters=matrices
        + (1 + 2 + CONVNEXT_MLP_RATIO + 1 + 1) * width,  # biases, norm, scale of the block
    )
