"""Memory of the losses, in bytes and in closed form: logits, similarities, and gradients of the head.

No torch.  The classification head never holds all logits (tiling.py); contrastive losses hold their matrices whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_zoo.activation_segments import FP32, Arithmetic
from model_zoo.specification import ObjectiveSpecification
from model_zoo.tiling import ON_ACCELERATOR, ON_CPU

# How many float32 matrices (a rank's rows x all columns) exist together at the peak of the loss's forward pass, and of
# its backward pass.  InfoNCE, by whether there are several ranks: the similarities (twice over several ranks, where
# rows and columns live on different ones) and, for each direction, them masked and their log-softmax.  Sigmoid: the
# similarities, the signs, their product, its log-sigmoid (on a CPU with a buffer), that negated, and that masked.
INFO_NCE_MATRICES = {False: 4, True: 5}
SIGMOID_MATRICES = 6
BACKWARD_MATRICES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class LossMemory:
    """Bytes that one rank holds while it computes the loss of its samples."""

    # of the classification head: one block of logits, and the copy of the weight in the precision of products
    logits: int
    # of the head's weight and bias; from the head's forward pass on, unless logits are recomputed in backward
    head_gradient: int
    similarity_forward: int
    similarity_backward: int
    gathered: int  # embeddings of all ranks, and their gradients


def loss_memory(
    specification: ObjectiveSpecification,
    arithmetic: Arithmetic,
    *,
    samples: int,
    num_ranks: int,
) -> LossMemory:
    """The memory of the loss when each of `num_ranks` ranks computes it for `samples` samples."""
    kind, width = specification.kind, specification.image.width
    rows, columns = samples, samples * num_ranks
    matrix = rows * columns * FP32 if kind.contrasts else 0
    if kind.contrasts == "sigmoid":
        forward = SIGMOID_MATRICES * matrix
    else:
        forward = INFO_NCE_MATRICES[num_ranks > 1] * matrix
    embeddings = columns * specification.image.embed_width * FP32
    return LossMemory(
        logits=_logits(specification, arithmetic, samples) if kind.classifies else 0,
        head_gradient=specification.vocabulary_size * (width + 1) * FP32 if kind.classifies else 0,
        similarity_forward=forward,
        similarity_backward=BACKWARD_MATRICES * matrix,
        gathered=4 * embeddings if kind.contrasts and num_ranks > 1 else 0,
    )


def _logits(specification: ObjectiveSpecification, arithmetic: Arithmetic, samples: int) -> int:
    tiling = ON_ACCELERATOR if arithmetic.on_accelerator else ON_CPU
    size, width = specification.vocabulary_size, specification.image.width
    block = min(
        samples * size * arithmetic.product_bytes, max(tiling.block_bytes, size * arithmetic.product_bytes)
    )
    slice_columns = min(tiling.slice_columns, size)
    slices = slice_columns * width * (arithmetic.product_bytes + FP32)  # of the weight's gradient
    copy = arithmetic.copied_weights(size * width) if arithmetic.on_accelerator else 0
    # a compiled loop needs no memory of its own; an eager one converts a piece of the block to float32 at a time
    pieces = (
        0 if arithmetic.on_accelerator else 2 * min(tiling.piece_elements, samples * slice_columns) * FP32
    )
    return block + slices + copy + pieces


def encoded_elements(specification: ObjectiveSpecification) -> int:
    """Numbers per sample that the towers hand to the losses: features for the head, embeddings for the contrast."""
    kind, image = specification.kind, specification.image
    return (image.width if kind.classifies else 0) + (2 * image.embed_width if kind.contrasts else 0)
