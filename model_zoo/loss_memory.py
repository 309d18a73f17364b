"""Bytes that the losses take besides the towers, in closed form: logits, similarities, and gradients of the head.

No torch.  The classification head never holds all logits (tiling.py); contrastive losses hold their matrices whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_zoo.activation_segments import FP32, Arithmetic
from model_zoo.specification import ObjectiveSpecification
from model_zoo.tiling import ON_ACCELERATOR, ON_CPU

# Matrices of a rank's rows x all columns, float32, that exist together at the largest moment of a forward pass, and of
# a backward pass.  InfoNCE: similarities (twice over several ranks: rows and columns are elsewhere), for each
# direction what is masked and its log-softmax.  Sigmoid: similarities, signs, their product, its log-sigmoid (and a
# buffer, on a CPU alone), negated, masked.
INFO_NCE_MATRICES = {False: 4, True: 5}
SIGMOID_MATRICES = 6
BACKWARD_MATRICES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class LossMemory:
    """What taking the loss of a rank's samples holds, in bytes."""

    # of the classification head: its block, and the copy of its weight in the precision of products
    logits: int
    # of the head's weight and bias; from its forward pass on unless the logits are recomputed
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
    """Of the loss over `samples` on each of `num_ranks`."""
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
    # a compiled loop needs no memory of its own; an eager one widens a piece of the block at a time
    pieces = (
        0 if arithmetic.on_accelerator else 2 * min(tiling.piece_elements, samples * slice_columns) * FP32
    )
    return block + slices + copy + pieces


def encoded_elements(specification: ObjectiveSpecification) -> int:
    """Elements of what the towers make of a sample for its losses."""
    kind, image = specification.kind, specification.image
    return (image.width if kind.classifies else 0) + (2 * image.embed_width if kind.contrasts else 0)
