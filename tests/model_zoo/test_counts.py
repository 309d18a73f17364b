"""Closed forms against built modules (meta device: shapes without numbers), open_clip's models, published figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import open_clip
import pytest
import torch
from small_objectives import some_targets
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.architectures import IMAGE_TOWERS, TEXT_TOWERS, VisionTransformerArchitecture
from model_zoo.build import build_objective
from model_zoo.counts import count_parameters, forward_flops_per_sample, train_flops_per_sample
from model_zoo.image_tower import build_image_tower
from model_zoo.specification import NO_TEXT_TOWER, OBJECTIVES, ObjectiveSpecification
from model_zoo.targets import KnownShare
from model_zoo.text_tower import TextTower
from model_zoo.tower_counts import count_image_tower, count_text_tower
from scaling.profile.flops import CORRECTED_FORMULAS

BATCH = 4
OURS = ("vit_nano8", "resnet_nano", "convnext_nano")
POOLED = [
    *((name, tower.poolings[0]) for name, tower in IMAGE_TOWERS.items()),
    ("vit_nano8", "class_token"),
    ("resnet50", "mean"),
]


def specify(objective: str, image_tower: str, **changes: Any) -> ObjectiveSpecification:
    """A specification at the sizes of the paper for its towers, at small ones for ours."""
    architecture = IMAGE_TOWERS[image_tower]
    is_ours = architecture.text_tower == "text_nano" or image_tower.endswith("8")
    fields = {
        "objective": objective,
        "image_tower": image_tower,
        "text_tower": architecture.text_tower if OBJECTIVES[objective].contrasts else NO_TEXT_TOWER,
        "image_size": 64 if is_ours else 224,
        "vocabulary_size": 4096 if is_ours else 49_408,
        "context_length": 32 if is_ours else 77,
        "batch_norm_samples": 2,
    }
    return ObjectiveSpecification(**fields | changes)


def build_without_numbers(specification: ObjectiveSpecification) -> Any:
    with torch.device("meta"):
        return build_objective(specification, seed=0)


def counted_flops(module: Any, *inputs: Any, corrected: bool = True) -> tuple[int, int]:
    """Per sample, of a forward pass and of a forward and backward pass, by the dispatcher; attention unfused."""
    mapping = CORRECTED_FORMULAS if corrected else None
    mode = FlopCounterMode(display=False, custom_mapping=mapping)
    with sdpa_kernel(SDPBackend.MATH), mode:
        output = module(*inputs)
        forward = mode.get_total_flops()
        (output if isinstance(output, torch.Tensor) else output["loss"]).sum().backward()
    return forward // BATCH, mode.get_total_flops() // BATCH


@pytest.mark.parametrize(
    "objective, image_tower",
    [
        *(("superclip", image_tower) for image_tower in IMAGE_TOWERS),  # which has every part
        *((objective, image_tower) for objective in OBJECTIVES for image_tower in OURS),
    ],
)
def test_counted_parameters_are_exactly_those_of_the_module(objective: str, image_tower: str) -> None:
    changes = {"head_layers": 2} if OBJECTIVES[objective].classifies else {}
    specification = specify(objective, image_tower, **changes)
    built = Counter({"image_tower": 0, "text_tower": 0, "head": 0})
    for name, parameter in build_without_numbers(specification).named_parameters():
        part = name.partition(".")[0]
        built[part if part in built else "head"] += parameter.numel()
    assert count_parameters(specification) == built


@pytest.mark.parametrize("image_tower, pooling", POOLED)
def test_the_flops_of_every_image_tower_are_those_of_the_dispatcher(image_tower: str, pooling: str) -> None:
    architecture = IMAGE_TOWERS[image_tower]
    image_size = 64 if "nano" in image_tower or image_tower.endswith("8") else 224
    with torch.device("meta"):
        tower = build_image_tower(
            architecture, image_size=image_size, pooling=pooling, batch_norm_samples=BATCH
        )
        images_BCHW = torch.empty(BATCH, 3, image_size, image_size)
    counted = count_image_tower(architecture, image_size=image_size, pooling=pooling)
    assert counted.parameters == sum(parameter.numel() for parameter in tower.parameters())
    assert (counted.forward_flops, counted.train_flops) == counted_flops(tower, images_BCHW)


@pytest.mark.parametrize("text_tower", TEXT_TOWERS)
def test_the_flops_of_every_text_tower_are_those_of_the_dispatcher(text_tower: str) -> None:
    sizes = {"vocabulary_size": 49_408, "context_length": 77}
    with torch.device("meta"):
        tower = TextTower(TEXT_TOWERS[text_tower], **sizes)
        tokens_BL = torch.empty(BATCH, 77, dtype=torch.int64)
    counted = count_text_tower(TEXT_TOWERS[text_tower], **sizes)
    assert (counted.forward_flops, counted.train_flops) == counted_flops(tower, tokens_BL)


@pytest.mark.parametrize("image_tower", ["resnet_nano", "vit_nano8"])
def test_our_count_of_a_convolutions_backward_pass_is_torchs_where_no_groups_mislead_it(
    image_tower: str,
) -> None:
    tower = build_image_tower(IMAGE_TOWERS[image_tower], image_size=32, batch_norm_samples=BATCH)
    images_BCHW = torch.randn(BATCH, 3, 32, 32)
    with_torchs = counted_flops(tower, images_BCHW, corrected=False)
    assert with_torchs == counted_flops(tower, images_BCHW)


@pytest.mark.parametrize("image_tower", OURS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_flops_of_every_objective_are_those_of_the_dispatcher(objective: str, image_tower: str) -> None:
    specification = specify(objective, image_tower, vocabulary_size=40, context_length=10, image_size=32)
    module = build_objective(specification, seed=0)
    targets = some_targets(objective, torch.ones(BATCH, dtype=torch.bool))
    forward, train = counted_flops(module, torch.randn(BATCH, 3, 32, 32), targets, KnownShare(float(BATCH)))
    assert sum(train_flops_per_sample(specification, BATCH).values()) == train
    if not specification.kind.classifies:  # a classification head forms its gradients in the forward pass
        assert sum(forward_flops_per_sample(specification, BATCH).values()) == forward


@pytest.mark.parametrize("patch_dropout, kept", [(0.5, 32), (0.3, 44), (0.99, 1)])
def test_dropped_patches_cost_nothing_in_training_and_everything_in_evaluation(
    patch_dropout: float, kept: int
) -> None:
    specification = specify("superclass", "vit_nano8", patch_dropout=patch_dropout)
    architecture = specification.image
    assert isinstance(architecture, VisionTransformerArchitecture)
    assert architecture.num_kept_patches(specification.image_size, patch_dropout) == kept
    with torch.device("meta"):
        tower = build_image_tower(architecture, image_size=64, patch_dropout=patch_dropout)
        images_BCHW = torch.empty(BATCH, 3, 64, 64)
    _, train = counted_flops(tower, images_BCHW)
    assert train_flops_per_sample(specification, 1)["image_tower"] == train
    whole = specify("superclass", "vit_nano8")
    assert forward_flops_per_sample(specification, 1) == forward_flops_per_sample(whole, 1)


@pytest.mark.parametrize(
    "image_tower, model",
    [
        ("vit_s16", "ViT-S-16"),
        ("vit_b16", "ViT-B-16"),
        ("vit_l16", "ViT-L-16"),
        ("vit_l14", "ViT-L-14"),
        ("vit_h16", "ViT-H-16"),
        ("vit_h14", "ViT-H-14"),
        ("resnet50", "RN50"),
        ("convnext_tiny", "convnext_tiny"),
    ],
)
def test_clip_has_as_many_parameters_as_open_clips_model_of_the_same_name(
    image_tower: str, model: str
) -> None:
    """The table of parameter counts: run this test with -s."""
    pooling = "class_token" if image_tower.startswith("vit") else None
    counted = count_parameters(specify("clip", image_tower, pooling=pooling))
    with torch.device("meta"):
        theirs = open_clip.model.CLIP(**open_clip.get_model_config(model))
    parts = Counter({"visual": 0, "text": 0})
    for name, parameter in theirs.named_parameters():
        parts["visual" if name.startswith("visual.") else "text"] += parameter.numel()
    print(f"{image_tower:14} {model:14} {counted} open_clip {dict(parts)}")
    assert sum(counted.values()) == parts.total()
    embed_width, width = IMAGE_TOWERS[image_tower].embed_width, IMAGE_TOWERS[image_tower].width
    bias = embed_width if IMAGE_TOWERS[image_tower].projection_bias else 0
    assert counted["image_tower"] + width * embed_width + bias == parts["visual"]


@pytest.mark.parametrize(
    "image_tower, image, text, head",  # giga multiply-adds, forward, of one 224-pixel image and 77 tokens
    [
        ("vit_s16", 4.60, 1.69, 0.019),
        ("vit_b16", 17.56, 2.98, 0.038),
        ("vit_l16", 61.55, 6.65, 0.051),
        ("vit_l14", 81.0, 6.65, 0.051),
        ("vit_h14", 167.3, 23.6, 0.063),
    ],
)
def test_counted_flops_agree_with_the_published_table(
    image_tower: str, image: float, text: float, head: float
) -> None:
    clip = forward_flops_per_sample(specify("clip", image_tower), 1)
    superclass = forward_flops_per_sample(specify("superclass", image_tower), 1)
    assert clip["image_tower"] == superclass["image_tower"]
    assert clip["image_tower"] / 2e9 == pytest.approx(image, rel=0.01)
    assert clip["text_tower"] / 2e9 == pytest.approx(text, rel=0.01)
    assert superclass["head"] / 2e9 == pytest.approx(head, abs=0.0005)  # printed to three decimals


def test_only_the_similarity_depends_on_the_batch_and_superclass_has_none() -> None:
    for objective in OBJECTIVES:
        small, large = (
            forward_flops_per_sample(specify(objective, "vit_b16"), batch) for batch in (1024, 2048)
        )
        assert large == small | {"similarity": 2 * small["similarity"]}
        assert (small["similarity"] == 0) == (objective == "superclass")


def test_a_locked_tower_costs_its_forward_pass_only() -> None:
    clip, lit = specify("clip", "vit_b16"), specify("lit", "vit_b16")
    assert count_parameters(lit) == count_parameters(clip)
    trained, locked = train_flops_per_sample(clip, 256), train_flops_per_sample(lit, 256)
    assert locked["image_tower"] == forward_flops_per_sample(clip, 256)["image_tower"]
    assert trained["head"] - locked["head"] == 2 * 768 * 512  # the features need no gradient
    assert {**locked, "image_tower": 0, "head": 0} == {**trained, "image_tower": 0, "head": 0}
