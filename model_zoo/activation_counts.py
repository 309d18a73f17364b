"""Bytes of a tower's activations, in closed form: what forward keeps for backward, and what each pass needs besides.

No torch.  A tower is a sequence of segments: what comes before its blocks, the blocks, what stands between and after
them.  The counts follow what autograd keeps of each operation in torch 2.15 under the two precisions of a run:
float32, and bfloat16 by autocast over float32 weights, where matrix products take and give bfloat16 and keep a
bfloat16 copy of their weight, while the residual stream stays float32.  Attention is fused: no scores are kept.  The
memory that torch.compile saves is not taken off.  The tests compare the sums with a trace of the built towers.
"""

# Letters in comments.  D width, M width of the MLP, p bytes of an element of products.

from __future__ import annotations

from model_zoo.activation_segments import FP32, Arithmetic, Segment
from model_zoo.architectures import (
    ConvNextArchitecture,
    ImageTowerArchitecture,
    ResNetArchitecture,
    TextTowerArchitecture,
    VisionTransformerArchitecture,
)
from model_zoo.convolution_activations import convnext_segments, resnet_segments
from model_zoo.tower_shapes import IMAGE_CHANNELS, TransformerShape

NORM_STATISTICS = 2 * FP32  # a LayerNorm keeps mean and inverse deviation of each token


def image_tower_segments(
    image: ImageTowerArchitecture,
    arithmetic: Arithmetic,
    *,
    image_size: int,
    pooling: str | None,
    patch_dropout: float = 0.0,
) -> tuple[Segment, ...]:
    """The segments of an image tower, first to last; ValueError for what the architecture cannot do."""
    pooling = image.resolve_pooling(pooling)
    image.check_image_size(image_size)
    if isinstance(image, VisionTransformerArchitecture):
        return _vision_transformer(image, arithmetic, image_size, patch_dropout)
    if isinstance(image, ResNetArchitecture):
        return resnet_segments(image, arithmetic, image_size, pooling)
    assert isinstance(image, ConvNextArchitecture)
    return convnext_segments(image, arithmetic, image_size)


def text_tower_segments(
    text: TextTowerArchitecture, arithmetic: Arithmetic, *, vocabulary_size: int, context_length: int
) -> tuple[Segment, ...]:
    """The segments of a text tower, first to last."""
    stream = context_length * text.width * FP32
    tables = (vocabulary_size + context_length) * text.width
    before = Segment(
        is_block=False,
        kept=context_length * 8,  # token ids, int64
        forward=2 * stream,
        backward=stream,
        weights=0,
        weight_gradient=tables * FP32,
        parameters=tables,
    )
    after = Segment(
        is_block=False,
        kept=text.width * FP32,  # one token of each caption is normalised
        forward=stream,
        backward=stream,
        weights=0,
        weight_gradient=0,
        parameters=2 * text.width,
    )
    return (before, *_blocks(text, arithmetic, context_length), after)


def _vision_transformer(
    image: VisionTransformerArchitecture, arithmetic: Arithmetic, image_size: int, patch_dropout: float
) -> tuple[Segment, ...]:
    num_tokens = 1 + image.num_kept_patches(image_size, patch_dropout)
    stream = num_tokens * image.width * FP32
    whole_stream = (1 + image.num_patches(image_size)) * image.width * FP32  # before patches are dropped
    pixels = IMAGE_CHANNELS * image_size**2
    convolution = IMAGE_CHANNELS * image.patch_size**2 * image.width
    before = Segment(
        is_block=False,
        kept=pixels * arithmetic.product_bytes + stream + num_tokens * NORM_STATISTICS,
        forward=pixels * (FP32 + arithmetic.product_bytes) + 2 * whole_stream,
        backward=stream + whole_stream,
        weights=arithmetic.copied_weights(convolution),
        weight_gradient=0,
        parameters=convolution + (2 + image.num_patches(image_size)) * image.width + 2 * image.width,
    )
    after = Segment(
        is_block=False,
        kept=stream + num_tokens * NORM_STATISTICS,
        forward=2 * stream,
        backward=2 * stream,  # of what is pooled and of what is normalised
        weights=0,
        weight_gradient=0,
        parameters=2 * image.width,
    )
    return (before, *_blocks(image, arithmetic, num_tokens), after)


def _blocks(tower: TransformerShape, arithmetic: Arithmetic, num_tokens: int) -> tuple[Segment, ...]:
    product = arithmetic.product_bytes
    stream, feature, hidden = tower.width * FP32, tower.width * product, tower.mlp_width * product
    attention = 4 * feature + tower.num_heads * FP32  # queries, keys, values, output; each head's log-sum-exp
    norms = 2 * (stream + NORM_STATISTICS)  # their inputs: the block's own, and the stream between the halves
    inputs = 2 * feature  # of the products behind the norms
    copied = stream if product == FP32 else stream + feature  # the stream's gradient; its copy for a product
    matrices = 4 * tower.width**2 + 2 * tower.width * tower.mlp_width
    vectors = 4 * tower.width + tower.mlp_width + tower.width + 2 * 2 * tower.width
    block = Segment(
        is_block=True,
        input=num_tokens * stream,
        kept=num_tokens * (norms + inputs + attention + 2 * hidden),  # hidden features before and after GELU
        operations=num_tokens * (stream + attention + 2 * feature + hidden),
        # what entered the first block and this one, the stream between its halves, normalised; MLP around GELU
        forward=num_tokens * (4 * stream + 2 * hidden),
        backward=num_tokens * (copied + hidden),  # right after the MLP's second product was differentiated
        weights=arithmetic.copied_weights(matrices),
        weight_gradient=tower.width * tower.mlp_width * product,
        parameters=matrices + vectors,
    )
    return (block,) * tower.depth
