"""What an objective costs, counted in closed form: parameters, and FLOPs per sample.  No torch.

FLOPs are model FLOPs: 2 x multiply-adds of matrix products and convolutions, attention scores of masked
positions included (as torch's FlopCounterMode counts unfused attention); normalisations, activations,
pooling, look-ups, the optimizer and recomputation are left out; hardware_counts.py counts what a run computes
besides.  The tests compare parameters and FLOPs with the built modules.
"""

from __future__ import annotations

from functools import lru_cache

from model_zoo.block_counts import TowerCount
from model_zoo.specification import ObjectiveSpecification
from model_zoo.tower_counts import count_image_tower, count_text_tower

HEAD_MLP_RATIO = 4  # of the classification head's hidden layers, as in the reference's MixClsHead


def count_parameters(specification: ObjectiveSpecification) -> dict[str, int]:
    """Parameters by part, a locked image tower's included: image_tower, text_tower, head.

    head is whatever follows the towers: the classification head, both projections, logit scale and bias.
    """
    text = text_tower_count(specification)
    return {
        "image_tower": image_tower_count(specification).parameters,
        "text_tower": text.parameters,
        "head": classification_parameters(specification) + _contrastive_parameters(specification),
    }


@lru_cache(maxsize=512)
def trained_parameters(specification: ObjectiveSpecification) -> int:
    """Parameters that get gradients: all but a locked image tower's."""
    parts = count_parameters(specification)
    return sum(parts.values()) - (parts["image_tower"] if specification.kind.locks_image_tower else 0)


def forward_flops_per_sample(specification: ObjectiveSpecification, global_batch: int) -> dict[str, int]:
    """FLOPs of one forward pass in evaluation, per sample: image_tower, text_tower, head, similarity.

    similarity is a sample's share of the one global_batch x global_batch matrix of similarities.  Over several
    ranks CLIP's loss computes it twice (rows and columns live on different ranks): hardware_counts.py adds that.
    """
    return {
        "image_tower": image_tower_count(specification).forward_flops,
        "text_tower": text_tower_count(specification).forward_flops,
        "head": _classification_flops(specification) + sum(projection_flops(specification)),
        "similarity": similarity_flops(specification, global_batch),
    }


def train_flops_per_sample(specification: ObjectiveSpecification, global_batch: int) -> dict[str, int]:
    """FLOPs of one forward and backward pass, per sample, by the same parts; no recomputation.

    Patches that are dropped cost nothing after their embedding.  A locked image tower costs its forward pass on all
    patches; its features need no gradient, so their projection costs two products instead of three.
    """
    image_projection, text_projection = projection_flops(specification)
    if specification.kind.locks_image_tower:
        image_flops = image_tower_count(specification).forward_flops
        projections = 2 * image_projection + 3 * text_projection
    else:
        image_flops = image_tower_count(specification, training=True).train_flops
        projections = 3 * (image_projection + text_projection)
    return {
        "image_tower": image_flops,
        "text_tower": text_tower_count(specification).train_flops,
        "head": 3 * _classification_flops(specification) + projections,
        "similarity": 3 * similarity_flops(specification, global_batch),
    }


def image_tower_count(specification: ObjectiveSpecification, *, training: bool = False) -> TowerCount:
    """Parameters and FLOPs of the image tower, in evaluation or, with patches dropped, in training."""
    return count_image_tower(
        specification.image,
        image_size=specification.image_size,
        pooling=specification.pooling,
        patch_dropout=specification.patch_dropout if training else 0.0,
        drop_path=specification.drop_path,
    )


def text_tower_count(specification: ObjectiveSpecification) -> TowerCount:
    """Parameters and FLOPs of the text tower; 0 for an objective without one."""
    if specification.text is None:
        return TowerCount(parameters=0, forward_flops=0)
    return count_text_tower(
        specification.text,
        vocabulary_size=specification.vocabulary_size,
        context_length=specification.context_length,
    )


def classification_parameters(specification: ObjectiveSpecification) -> int:
    """Parameters of the classification head; 0 without one."""
    if not specification.kind.classifies:
        return 0
    width, norm = specification.image.width, 2 * specification.image.width
    hidden = norm + 2 * HEAD_MLP_RATIO * width**2 + (HEAD_MLP_RATIO + 1) * width  # two products, their biases
    return specification.head_layers * hidden + norm + (width + 1) * specification.vocabulary_size


def _classification_flops(specification: ObjectiveSpecification) -> int:
    if not specification.kind.classifies:
        return 0
    hidden = 2 * 2 * HEAD_MLP_RATIO * specification.image.width**2
    return specification.head_layers * hidden + logit_flops(specification)


def logit_flops(specification: ObjectiveSpecification) -> int:
    """FLOPs of the logits of one sample: its feature x the head's matrix; 0 without a classification head."""
    if not specification.kind.classifies:
        return 0
    return 2 * specification.image.width * specification.vocabulary_size


def _contrastive_parameters(specification: ObjectiveSpecification) -> int:
    image, text = specification.image, specification.text
    if text is None:
        return 0
    bias = image.embed_width if image.projection_bias else 0
    scalars = 2 if specification.kind.contrasts == "sigmoid" else 1  # logit scale, and bias
    return (image.width + text.width) * image.embed_width + bias + scalars


def projection_flops(specification: ObjectiveSpecification) -> tuple[int, int]:
    """FLOPs of projecting one image and one caption into the joint embedding; 0 without a text tower."""
    image, text = specification.image, specification.text
    return (
        (0, 0) if text is None else (2 * image.width * image.embed_width, 2 * text.width * image.embed_width)
    )


def similarity_flops(specification: ObjectiveSpecification, global_batch: int) -> int:
    """FLOPs of one row of the similarity matrix: an image with all captions of the global batch."""
    return 0 if specification.text is None else 2 * global_batch * specification.image.embed_width
