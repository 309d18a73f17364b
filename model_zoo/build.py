"""From a specification to a module initialised by a seed; and its parameters, split for the optimizer."""

from __future__ import annotations

import torch
from torch import nn

from model_zoo.activation_checkpointing import checkpoint_activations
from model_zoo.activation_segments import ActivationCheckpointing
from model_zoo.architectures import TextTowerArchitecture
from model_zoo.classification_head import ClassificationHead
from model_zoo.classification_losses import ClassificationLoss
from model_zoo.clip import Clip
from model_zoo.image_tower import build_image_tower
from model_zoo.lit import Lit
from model_zoo.siglip import SigLip
from model_zoo.specification import ObjectiveSpecification
from model_zoo.superclass import SuperClass
from model_zoo.superclip import SuperClip
from model_zoo.text_tower import TextTower

BuiltObjective = SuperClass | Clip | SigLip | SuperClip | Lit

CONTRASTIVE: dict[str, type[Clip] | type[SigLip]] = {"clip": Clip, "siglip": SigLip, "lit": Lit}
"""The objectives that are two towers and nothing else."""


def build_objective(
    specification: ObjectiveSpecification,
    *,
    seed: int,
    activation_checkpointing: ActivationCheckpointing = "none",
    activation_checkpointing_every: int = 1,
    head_recompute: bool = False,
) -> BuiltObjective:
    """The objective, a torch module that implements `Objective`, in float32 on the default device.

    Its weights depend on `seed` and the specification only, and those of the towers are the same whatever the
    objective.  The caller's random state is left as it was.
    `activation_checkpointing`: what blocks 0, `activation_checkpointing_every`, ... of the trained towers recompute in
    the backward pass.  `head_recompute`: recompute the logits of the classification head there.
    """
    objective = _built(specification, seed, head_recompute)
    for tower in (objective.image_tower, getattr(objective, "text_tower", None)):
        if tower is not None and any(parameter.requires_grad for parameter in tower.parameters()):
            checkpoint_activations(tower, activation_checkpointing, every=activation_checkpointing_every)
    return objective


def _built(specification: ObjectiveSpecification, seed: int, head_recompute: bool) -> BuiltObjective:
    text = specification.text
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators, which fork_rng was not asked to restore
        torch.default_generator.manual_seed(seed)
        image_tower = _image_tower(specification)
        if text is None:
            return SuperClass(specification, image_tower, _head(specification, head_recompute))
        text_tower = _text_tower(specification, text)
        if specification.kind.classifies:
            head = _head(specification, head_recompute)
            return SuperClip(specification, image_tower, text_tower, head)
        return CONTRASTIVE[specification.objective](specification, image_tower, text_tower)


def _image_tower(specification: ObjectiveSpecification) -> nn.Module:
    return build_image_tower(
        specification.image,
        image_size=specification.image_size,
        pooling=specification.pooling,
        patch_dropout=specification.patch_dropout,
        drop_path=specification.drop_path,
        batch_norm_samples=specification.batch_norm_samples,
    )


def _text_tower(specification: ObjectiveSpecification, text: TextTowerArchitecture) -> TextTower:
    return TextTower(
        text,
        vocabulary_size=specification.vocabulary_size,
        context_length=specification.context_length,
    )


def _head(specification: ObjectiveSpecification, recompute: bool) -> ClassificationHead:
    loss = ClassificationLoss(
        name=specification.classification_loss,
        asl_gamma_negative=specification.asl_gamma_negative,
        asl_gamma_positive=specification.asl_gamma_positive,
        asl_margin=specification.asl_margin,
        two_way_temperature=specification.two_way_temperature,
    )
    return ClassificationHead(
        specification.image.width,
        specification.vocabulary_size,
        loss=loss,
        hidden_layers=specification.head_layers,
        recompute=recompute,
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
