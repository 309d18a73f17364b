"""What an objective costs, counted in closed form: parameters, and FLOPs per sample.  No torch.

FLOPs are model FLOPs: 2 x multiply-adds of matrix products and convolutions, attention scores of masked
positions included (as torch's FlopCounterMode counts unfused attention); normalisations, activations,
pooling, look-ups, the optimizer and recomputation are left out.  The tests hold both counts to the built modules.
"""

from __future__ import annotations

from model_zoo.specification import ObjectiveSpecification
from model_zoo.tower_counts import TowerCount, count_image_tower, count_text_tower

HEAD_MLP_RATIO = 4  # of the classification head's hidden layers, as in the reference's MixClsHead


def count_parameters(specification: ObjectiveSpecification) -> dict[str, int]:
    """Parameters by part, a locked image tower's included: image_tower, text_tower, head.

    head is whatever follows the towers: the classification head, both projections, logit scale and bias.
    """
    text = _text_tower(specification)
    return {
        "image_tower": _image_tower(specification).parameters,
        "text_tower": text.parameters,
        "head": _classification_parameters(specification) + _contrastive_parameters(specification),
    }


def forward_flops_per_sample(specification: ObjectiveSpecification, global_batch: int) -> dict[str, int]:
    """FLOPs of one forward pass in evaluation, per sample: image_tower, text_tower, head, similarity.

    similarity is a sample's share of the one global_batch x global_batch matrix of products.  Over several
    ranks CLIP's local loss forms it twice (rows and columns live on different ranks): overhead, not model.
    """
    return {
        "image_tower": _image_tower(specification).forward_flops,
        "text_tower": _text_tower(specification).forward_flops,
        "head": _classification_flops(specification) + sum(_projection_flops(specification)),
        "similarity": _similarity_flops(specification, global_batch),
    }


def train_flops_per_sample(specification: ObjectiveSpecification, global_batch: int) -> dict[str, int]:
    """FLOPs of one forward and backward pass, per sample, by the same parts; no recomputation.

    Patches that are dropped cost nothing after their embedding.  A locked image tower costs its forward pass
    on all patches, and the projection of its features, which need no gradient, one product less.
    """
    image_projection, text_projection = _projection_flops(specification)
    if specification.kind.locks_image_tower:
        image_flops = _image_tower(specification).forward_flops
        projections = 2 * image_projection + 3 * text_projection
    else:
        image_flops = _image_tower(specification, specification.patch_dropout).train_flops
        projections = 3 * (image_projection + text_projection)
    return {
        "image_tower": image_flops,
        "text_tower": _text_tower(specification).train_flops,
        "head": 3 * _classification_flops(specification) + projections,
        "similarity": 3 * _similarity_flops(specification, global_batch),
    }


def _image_tower(specification: ObjectiveSpecification, patch_dropout: float = 0.0) -> TowerCount:
    return count_image_tower(
        specification.image,
        image_size=specification.image_size,
        pooling=specification.pooling,
        patch_dropout=patch_dropout,
    )


def _text_tower(specification: ObjectiveSpecification) -> TowerCount:
    if specification.text is None:
        return TowerCount(parameters=0, forward_flops=0)
    return count_text_tower(
        specification.text,
        vocabulary_size=specification.vocabulary_size,
        context_length=specification.context_length,
    )


def _classification_parameters(specification: ObjectiveSpecification) -> int:
    if not specification.kind.classifies:
        return 0
    width, norm = specification.image.width, 2 * specification.image.width
    hidden = norm + 2 * HEAD_MLP_RATIO * width**2 + (HEAD_MLP_RATIO + 1) * width  # two products, their biases
    return specification.head_layers * hidden + norm + (width + 1) * specification.vocabulary_size


def _classification_flops(specification: ObjectiveSpecification) -> int:
    if not specification.kind.classifies:
        return 0
    width = specification.image.width
    hidden = 2 * HEAD_MLP_RATIO * width**2
    return 2 * (specification.head_layers * hidden + width * specification.vocabulary_size)


def _contrastive_parameters(specification: ObjectiveSpecification) -> int:
    image, text = specification.image, specification.text
    if text is None:
        return 0
    bias = image.embed_width if image.projection_bias else 0
    scalars = 2 if specification.kind.contrasts == "sigmoid" else 1  # logit scale, and bias
    return (image.width + text.width) * image.embed_width + bias + scalars


def _projection_flops(specification: ObjectiveSpecification) -> tuple[int, int]:
    """Of image and caption, into the joint embedding."""
    image, text = specification.image, specification.text
    return (
        (0, 0) if text is None else (2 * image.width * image.embed_width, 2 * text.width * image.embed_width)
    )


def _similarity_flops(specification: ObjectiveSpecification, global_batch: int) -> int:
    return 0 if specification.text is None else 2 * global_batch * specification.image.embed_width
