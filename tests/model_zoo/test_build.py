"""From a specification to a module: seeds, state, and what weight decay spares."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import open_clip
import pytest
import torch
from small_objectives import a_specification, build, gradients, some_images, some_targets
from torch import nn

from model_zoo.activation_segments import ActivationCheckpointing
from model_zoo.build import build_objective, weight_decay_groups
from model_zoo.specification import OBJECTIVES
from model_zoo.targets import KnownShare

CONTRASTIVE = ("clip", "siglip", "superclip", "lit")
TOWERS: tuple[dict[str, Any], ...] = (
    {},
    {"image_tower": "resnet_nano", "image_size": 32},
    {"image_tower": "convnext_nano", "image_size": 32},
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


@pytest.mark.parametrize("objective", CONTRASTIVE)
@pytest.mark.parametrize("changes", TOWERS, ids=str)
def test_all_objectives_start_from_the_same_image_tower(objective: str, changes: dict[str, Any]) -> None:
    superclass, other = build("superclass", seed=7, **changes), build(objective, seed=7, **changes)
    assert same_weights(superclass.image_tower, other.image_tower)


@pytest.mark.parametrize("objective", CONTRASTIVE[1:])
def test_contrastive_objectives_start_from_the_same_text_tower(objective: str) -> None:
    clip: Any = build("clip", seed=7)
    other: Any = build(objective, seed=7)
    assert same_weights(clip.text_tower, other.text_tower)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_building_leaves_the_random_state_of_the_caller_alone(objective: str) -> None:
    before = torch.get_rng_state()
    build(objective)
    assert torch.equal(torch.get_rng_state(), before)


MODES: tuple[ActivationCheckpointing, ...] = ("blocks", "operations", "offload")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("changes", TOWERS, ids=str)
def test_activation_checkpointing_changes_no_weight_and_no_gradient(
    objective: str, changes: dict[str, Any], mode: ActivationCheckpointing
) -> None:
    specification = a_specification(objective, batch_norm_samples=2, **changes)
    plain = build_objective(specification, seed=0)
    recomputing = build_objective(specification, seed=0, activation_checkpointing=mode)
    assert same_weights(plain, recomputing)
    valid_B = torch.ones(4, dtype=torch.bool)
    images_BCHW = torch.randn(4, 3, specification.image_size, specification.image_size)
    targets = some_targets(objective, valid_B)
    for built in (plain, recomputing):
        built(images_BCHW, targets, KnownShare(4.0))["loss"].backward()
    found, expected = gradients(recomputing), gradients(plain)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_towers_that_train_recompute_and_a_locked_one_does_not(objective: str) -> None:
    built: Any = build_objective(
        a_specification(objective),
        seed=0,
        activation_checkpointing="blocks",
        activation_checkpointing_every=2,
    )
    runs: Counter[str] = Counter()
    for name in ("image_tower", "text_tower"):
        for block in getattr(built, name).blocks if hasattr(built, name) else ():
            linear = next(part for part in block.modules() if isinstance(part, nn.Linear))
            linear.register_forward_hook(lambda *_, name=name: runs.update([name]))
    targets = some_targets(objective, torch.ones(4).bool())
    built(some_images(4, torch.float32), targets, KnownShare(4.0))["loss"].backward()
    assert runs["image_tower"] == (3 if objective == "lit" else 5)  # blocks 0 and 2 of 3 twice
    assert runs["text_tower"] == (3 if hasattr(built, "text_tower") else 0)  # block 0 of 2


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("changes", TOWERS, ids=str)
def test_no_parameter_is_without_dimensions_and_no_state_but_batch_norms_outside_the_parameters(
    objective: str, changes: dict[str, Any]
) -> None:
    built = build(objective, **changes)
    assert all(parameter.ndim >= 1 for parameter in built.parameters())
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert all(name.endswith(statistics) for name, _ in built.named_buffers())
    assert bool(list(built.buffers())) == (changes.get("image_tower") == "resnet_nano")


RESNET = {"image_tower": "resnet_nano", "image_size": 32}
FIELDS_THAT_MATTER: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("superclass", {}, {"pooling": "class_token"}),
    ("superclass", {}, {"patch_dropout": 0.5}),
    ("superclass", {}, {"drop_path": 0.9}),
    ("superclass", {}, {"head_layers": 1}),
    ("superclass", {}, {"classification_loss": "bce"}),
    ("superclass_asl", {}, {"asl_gamma_negative": 2.0}),
    ("superclass_asl", {}, {"asl_gamma_positive": 1.0}),
    ("superclass_asl", {}, {"asl_margin": 0.2}),
    ("superclass_two_way", {}, {"two_way_temperature": 1.0}),
    ("superclass", RESNET | {"batch_norm_samples": 4}, {"batch_norm_samples": 2}),
    ("superclass", RESNET | {"batch_norm_samples": 4}, {"pooling": "mean"}),
    ("superclip", {}, {"contrastive_weight": 0.5}),
    ("superclip", {}, {"classification_weight": 0.5}),
    ("clip", {}, {"logit_scale_init": 2.0}),
    ("siglip", {}, {"logit_bias_init": -5.0}),
)


@pytest.mark.parametrize("variant, fields, changes", FIELDS_THAT_MATTER, ids=str)
def test_every_field_of_the_specification_reaches_the_loss(
    variant: str, fields: dict[str, Any], changes: dict[str, Any]
) -> None:
    size = fields.get("image_size", 16)
    images_BCHW, targets = torch.randn(4, 3, size, size), some_targets(variant, torch.ones(4).bool())
    losses = []
    for specified in (fields, fields | changes):
        built = build(variant, **specified)
        torch.manual_seed(5)  # of the dropouts
        losses.append(built(images_BCHW, targets, KnownShare(4.0))["loss"].item())
    assert losses[1] != pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_survives_a_copy_of_its_state(objective: str) -> None:
    built, other = build(objective, seed=1).eval(), build(objective, seed=2).eval()
    other.load_state_dict(copy.deepcopy(built.state_dict()))
    images_BCHW, share = some_images(3, torch.float32), KnownShare(3.0)
    targets = some_targets(objective, torch.ones(3).bool())
    assert torch.equal(built(images_BCHW, targets, share)["loss"], other(images_BCHW, targets, share)["loss"])


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
    # open_clip_train/main.py: `exclude`
    exempt = [
        parameter
        for name, parameter in theirs.named_parameters()
        if parameter.ndim < 2 or any(word in name for word in ("bn", "ln", "bias", "logit_scale"))
    ]
    decayed, not_decayed = weight_decay_groups(build("clip"))
    assert sum(map(torch.numel, not_decayed)) == sum(map(torch.numel, exempt))
    assert sum(map(torch.numel, decayed)) == sum(map(torch.numel, theirs.parameters())) - sum(
        map(torch.numel, exempt)
    )


@pytest.mark.parametrize("objective", ["superclass", "superclip"])
def test_the_head_matrix_and_the_positions_are_decayed_the_class_token_and_biases_are_not(
    objective: str,
) -> None:
    built: Any = build(objective, head_layers=1)
    decayed, not_decayed = ({id(parameter) for parameter in group} for group in weight_decay_groups(built))
    tower, head = built.image_tower, built.head
    assert {id(head.weight), id(tower.pos_embed), id(tower.patch_embed.proj.weight)} <= decayed
    assert {id(head.bias), id(head.norm.weight), id(tower.cls_token)} <= not_decayed
    assert not decayed & not_decayed and len(decayed | not_decayed) == len(list(built.parameters()))


@pytest.mark.parametrize("changes", TOWERS, ids=str)
def test_norms_scales_and_biases_of_any_tower_are_not_decayed(changes: dict[str, Any]) -> None:
    built = build("siglip", **changes)
    decayed, _ = weight_decay_groups(built)
    spared = [
        name for name, parameter in built.named_parameters() if all(parameter is not p for p in decayed)
    ]
    of_norms = [
        f"{name}.{own}"
        for name, part in built.named_modules()
        if isinstance(part, (nn.LayerNorm, nn.BatchNorm2d)) or "norm" in type(part).__name__.lower()
        for own, _ in part.named_parameters(recurse=False)
    ]
    assert of_norms and set(of_norms) <= set(spared)
    assert {"logit_scale", "logit_bias"} <= set(spared)
    assert not [
        name for name in spared if name.endswith("weight") and built.get_parameter(name).squeeze().ndim > 1
    ]


def test_frozen_parameters_are_in_neither_group() -> None:
    built: Any = build("superclass")
    built.image_tower.requires_grad_(False)
    decayed, not_decayed = weight_decay_groups(built)
    assert len(decayed) + len(not_decayed) == len(list(built.head.parameters()))
