"""From names to a module initialised by a seed; and its parameters, split for the optimizer."""

from __future__ import annotations

import torch
from torch import nn

from model_zoo.architectures import objective_towers
from model_zoo.clip import Clip
from model_zoo.image_tower import build_image_tower
from model_zoo.superclass import SuperClass
from model_zoo.text_tower import TextTower


def build_objective(
    *,
    objective: str,
    image_tower: str,
    text_tower: str,
    image_size: int,
    vocabulary_size: int,
    context_length: int,
    logit_scale_init: float,
    logit_scale_max: float,
    seed: int,
    activation_checkpointing: bool = False,
) -> SuperClass | Clip:
    """The objective, a torch module that implements `Objective`, in float32 on the default device.

    Its weights depend on `seed` and the architecture only, those of the image tower not on the objective.
    The caller's random state is left as it was.  With `activation_checkpointing` the blocks of the image
    tower are recomputed in the backward pass.
    """
    image, text = objective_towers(objective=objective, image_tower=image_tower, text_tower=text_tower)
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators, which fork_rng was not asked to restore
        torch.default_generator.manual_seed(seed)
        trunk = build_image_tower(
            image, image_size=image_size, activation_checkpointing=activation_checkpointing
        )
        if text is None:
            return SuperClass(trunk, image.width, vocabulary_size)
        return Clip(
            trunk,
            TextTower(text, vocabulary_size=vocabulary_size, context_length=context_length),
            feature_width=image.width,
            embed_width=image.embed_width,
            logit_scale_init=logit_scale_init,
            logit_scale_max=logit_scale_max,
        )


def weight_decay_groups(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trained parameters that weight decay shrinks, and those it leaves alone.

    open_clip's rule, which SuperClass trains with: no decay on vectors, nor on names with bn, ln, bias or
    logit_scale.  The head matrix, token and position embeddings are decayed.  Dimensions of size 1 do not
    count, as timm keeps the class token, a vector in CLIP, in the shape [1, 1, D].
    """
    decayed: list[nn.Parameter] = []
    not_decayed: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (not_decayed if _is_exempt(name, parameter) else decayed).append(parameter)
    return decayed, not_decayed


def _is_exempt(name: str, parameter: nn.Parameter) -> bool:
    is_vector = sum(size > 1 for size in parameter.shape) < 2
    return is_vector or any(word in name for word in ("bn", "ln", "bias", "logit_scale"))
