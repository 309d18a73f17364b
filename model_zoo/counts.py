"""What an objective costs, counted in closed form: parameters, and FLOPs per sample.  No torch.

FLOPs are model FLOPs: 2 x multiply-adds of matrix products and convolutions, attention scores of masked
positions included (as torch's FlopCounterMode counts unfused attention); normalisations, activations,
look-ups, the optimizer and recomputation are left out.  The tests hold both counts to the built modules.
"""

from __future__ import annotations

from typing import Protocol

from model_zoo.architectures import ImageTowerArchitecture, TextTowerArchitecture, objective_towers

IMAGE_CHANNELS = 3


class _Blocks(Protocol):
    """What the two kinds of tower share: a stack of transformer blocks."""

    @property
    def width(self) -> int: ...

    @property
    def depth(self) -> int: ...

    @property
    def mlp_width(self) -> int: ...


def count_parameters(
    *,
    objective: str,
    image_tower: str,
    text_tower: str,
    image_size: int,
    vocabulary_size: int,
    context_length: int,
) -> dict[str, int]:
    """Trained parameters by part: image_tower, text_tower, head.

    head is LayerNorm and linear layer for superclass; both projections and logit_scale for clip.
    """
    image, text = objective_towers(objective=objective, image_tower=image_tower, text_tower=text_tower)
    if text is None:
        head = 2 * image.width + (image.width + 1) * vocabulary_size
        return {"image_tower": _image_parameters(image, image_size), "text_tower": 0, "head": head}
    return {
        "image_tower": _image_parameters(image, image_size),
        "text_tower": _text_parameters(text, vocabulary_size, context_length),
        "head": (image.width + text.width) * image.embed_width + 1,
    }


def forward_flops_per_sample(
    *,
    objective: str,
    image_tower: str,
    text_tower: str,
    image_size: int,
    vocabulary_size: int,
    context_length: int,
    global_batch: int,
) -> dict[str, int]:
    """FLOPs of one forward pass, per sample, by part: image_tower, text_tower, head, similarity.

    similarity is a sample's share of CLIP's one global_batch x global_batch matrix of products.  Over several
    ranks the local loss forms it twice (rows and columns live on different ranks): overhead, not model.
    """
    image, text = objective_towers(objective=objective, image_tower=image_tower, text_tower=text_tower)
    num_patches = image.num_patches(image_size)
    trunk = _patch_flops(image, num_patches) + _block_flops(image, num_patches + 1)
    if text is None:
        head = 2 * image.width * vocabulary_size
        return {"image_tower": trunk, "text_tower": 0, "head": head, "similarity": 0}
    return {
        "image_tower": trunk,
        "text_tower": _block_flops(text, context_length),
        "head": 2 * (image.width + text.width) * image.embed_width,
        "similarity": 2 * global_batch * image.embed_width,
    }


def train_flops_per_sample(
    *,
    objective: str,
    image_tower: str,
    text_tower: str,
    image_size: int,
    vocabulary_size: int,
    context_length: int,
    global_batch: int,
) -> dict[str, int]:
    """FLOPs of one forward and backward pass, per sample, by part; no recomputation.

    A matrix product costs two more backward, one per factor; the patch convolution one, as pixels need no
    gradient.
    """
    forward = forward_flops_per_sample(
        objective=objective,
        image_tower=image_tower,
        text_tower=text_tower,
        image_size=image_size,
        vocabulary_size=vocabulary_size,
        context_length=context_length,
        global_batch=global_batch,
    )
    image, _ = objective_towers(objective=objective, image_tower=image_tower, text_tower=text_tower)
    train = {part: 3 * flops for part, flops in forward.items()}
    train["image_tower"] -= _patch_flops(image, image.num_patches(image_size))
    return train


def _image_parameters(image: ImageTowerArchitecture, image_size: int) -> int:
    convolution = IMAGE_CHANNELS * image.patch_size**2 * image.width  # without bias
    tokens = (1 + 1 + image.num_patches(image_size)) * image.width  # class token, positions
    norms = 2 * 2 * image.width  # before the first block and after the last
    return convolution + tokens + norms + _block_parameters(image)


def _text_parameters(text: TextTowerArchitecture, vocabulary_size: int, context_length: int) -> int:
    norm = 2 * text.width
    return (vocabulary_size + context_length) * text.width + norm + _block_parameters(text)


def _block_parameters(tower: _Blocks) -> int:
    attention = 4 * tower.width * (tower.width + 1)
    mlp = 2 * tower.width * tower.mlp_width + tower.mlp_width + tower.width
    norms = 2 * 2 * tower.width
    return tower.depth * (attention + mlp + norms)


def _patch_flops(image: ImageTowerArchitecture, num_patches: int) -> int:
    return 2 * num_patches * IMAGE_CHANNELS * image.patch_size**2 * image.width


def _block_flops(tower: _Blocks, num_tokens: int) -> int:
    projections = 4 * num_tokens * tower.width**2
    scores_and_values = 2 * num_tokens**2 * tower.width
    mlp = 2 * num_tokens * tower.width * tower.mlp_width
    return tower.depth * 2 * (projections + scores_and_values + mlp)
