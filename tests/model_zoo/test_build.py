from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from model_zoo.architectures import OBJECTIVES
from model_zoo.build import build_objective, weight_decay_groups
from model_zoo.clip import Clip
from model_zoo.superclass import SuperClass

NAMES: dict[str, Any] = {
    "image_tower": "vit_nano8",
    "image_size": 16,
    "vocabulary_size": 40,
    "context_length": 10,
    "logit_scale_init": 2.6593,
    "logit_scale_max": 4.6052,
}


def build(objective: str, seed: int = 0, **changes: Any) -> SuperClass | Clip:
    text_tower = {"superclass": "none", "clip": "text_nano"}[objective]
    return build_objective(
        **NAMES | {"objective": objective, "text_tower": text_tower, "seed": seed} | changes
    )


def same_weights(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.state_dict().items(), right.state_dict().items(), strict=True)
    return all(name == other and torch.equal(weight, weight_2) for (name, weight), (other, weight_2) in pairs)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(objective: str) -> None:
    torch.manual_seed(1)
    first = build(objective)
    torch.manual_seed(2)
    assert same_weights(first, build(objective))
    assert not same_weights(first.image_tower, build(objective, seed=1).image_tower)


def test_both_objectives_start_from_the_same_image_tower() -> None:
    assert same_weights(build("superclass", seed=7).image_tower, build("clip", seed=7).image_tower)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_building_leaves_the_random_state_of_the_caller_alone(objective: str) -> None:
    before = torch.get_rng_state()
    build(objective)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_activation_checkpointing_changes_no_initial_weight(objective: str) -> None:
    assert same_weights(build(objective), build(objective, activation_checkpointing=True))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_parameter_is_without_dimensions_and_no_state_is_outside_the_parameters(objective: str) -> None:
    built = build(objective)
    assert all(parameter.ndim >= 1 for parameter in built.parameters())
    assert not list(built.buffers())


def test_names_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean 'vit_nano8'"):
        build("superclass", image_tower="vit_nano")
    with pytest.raises(ValueError, match="use text_tower: none"):
        build("superclass", text_tower="text_nano")


def test_weight_decay_spares_exactly_what_open_clip_spares() -> None:
    theirs = open_clip.CLIP(
        embed_dim=64,
        vision_cfg={
            "image_size": 16,
            "patch_size": 8,
            "width": 48,
            "layers": 3,
            "head_width": 16,
            "pool_type": "avg",
        },
        text_cfg={"context_length": 10, "vocab_size": 40, "width": 64, "heads": 2, "layers": 2},
    )
    exempt = [
        parameter
        for name, parameter in theirs.named_parameters()
        if parameter.ndim < 2 or any(word in name for word in ("bn", "ln", "bias", "logit_scale"))
    ]  # open_clip_train/main.py: `exclude`
    decayed, not_decayed = weight_decay_groups(build("clip"))
    assert sum(map(torch.numel, not_decayed)) == sum(map(torch.numel, exempt))
    assert sum(map(torch.numel, decayed)) == sum(map(torch.numel, theirs.parameters())) - sum(
        map(torch.numel, exempt)
    )


def test_the_head_matrix_and_the_positions_are_decayed_the_class_token_and_biases_are_not() -> None:
    built = build("superclass")
    decayed, not_decayed = ({id(parameter) for parameter in group} for group in weight_decay_groups(built))
    tower: Any = built.image_tower
    head: Any = built.head
    assert {id(head.linear.weight), id(tower.pos_embed), id(tower.patch_embed.proj.weight)} <= decayed
    assert {id(head.linear.bias), id(head.norm.weight), id(tower.cls_token)} <= not_decayed
    assert not decayed & not_decayed and len(decayed | not_decayed) == len(list(built.parameters()))


def test_frozen_parameters_are_in_neither_group() -> None:
    built = build("superclass")
    built.image_tower.requires_grad_(False)
    decayed, not_decayed = weight_decay_groups(built)
    assert len(decayed) + len(not_decayed) == len(list(built.head.parameters()))
