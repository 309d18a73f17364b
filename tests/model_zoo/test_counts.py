"""Closed forms against the built modules (meta device: shapes without numbers) and published figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.architectures import IMAGE_TOWERS, OBJECTIVES
from model_zoo.build import build_objective
from model_zoo.counts import count_parameters, forward_flops_per_sample, train_flops_per_sample
from model_zoo.targets import LabelSets, TokenRows

BATCH = 3


def names_of(objective: str, image_tower: str, **changes: int) -> dict[str, Any]:
    architecture = IMAGE_TOWERS[image_tower]
    small = architecture.patch_size == 8
    return {
        "objective": objective,
        "image_tower": image_tower,
        "text_tower": architecture.text_tower if objective == "clip" else "none",
        "image_size": 48 if small else 224,
        "vocabulary_size": 4096 if small else 49_408,
        "context_length": 32 if small else 77,
    } | changes


def build_without_numbers(names: dict[str, Any]) -> torch.nn.Module:
    with torch.device("meta"):
        return build_objective(**names, logit_scale_init=2.6593, logit_scale_max=4.6052, seed=0)


def targets_without_numbers(names: dict[str, Any]) -> LabelSets | TokenRows:
    valid_B = torch.empty(BATCH, dtype=torch.bool, device="meta")
    if names["objective"] == "clip":
        shape = (BATCH, names["context_length"])
        return TokenRows(torch.empty(shape, dtype=torch.int64, device="meta"), valid_B)
    ids_N, offsets = (torch.empty(size, dtype=torch.int64, device="meta") for size in (7, BATCH + 1))
    return LabelSets(ids_N, offsets, valid_B)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("image_tower", IMAGE_TOWERS)
def test_counted_parameters_are_exactly_those_of_the_module(objective: str, image_tower: str) -> None:
    names = names_of(objective, image_tower)
    built = Counter({"image_tower": 0, "text_tower": 0, "head": 0})
    for name, parameter in build_without_numbers(names).named_parameters():
        part = name.partition(".")[0]
        built[part if part in built else "head"] += parameter.numel()
    assert count_parameters(**names) == built


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    "image_tower, changes",
    [
        ("vit_nano8", {}),
        ("vit_micro8", {"image_size": 64, "context_length": 16}),
        ("vit_b16", {}),
        ("vit_s14", {}),
    ],
)
def test_counted_flops_are_those_of_the_dispatcher(
    objective: str, image_tower: str, changes: dict[str, int]
) -> None:
    names = names_of(objective, image_tower, **changes)
    module = build_without_numbers(names)
    images_BCHW = torch.empty(BATCH, 3, names["image_size"], names["image_size"], device="meta")
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = module(images_BCHW, targets_without_numbers(names), float(BATCH))["loss"]
        forward = counter.get_total_flops()
        loss.backward()
        train = counter.get_total_flops()
    assert sum(forward_flops_per_sample(**names, global_batch=BATCH).values()) * BATCH == forward
    assert sum(train_flops_per_sample(**names, global_batch=BATCH).values()) * BATCH == train


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
    clip = forward_flops_per_sample(**names_of("clip", image_tower), global_batch=1)
    superclass = forward_flops_per_sample(**names_of("superclass", image_tower), global_batch=1)
    assert clip["image_tower"] == superclass["image_tower"]
    assert clip["image_tower"] / 2e9 == pytest.approx(image, rel=0.01)
    assert clip["text_tower"] / 2e9 == pytest.approx(text, rel=0.01)
    assert superclass["head"] / 2e9 == pytest.approx(head, abs=0.0005)  # printed to three decimals


@pytest.mark.parametrize(
    "image_tower, image, text",
    [("vit_s16", 21.7, 40.4), ("vit_b16", 85.8, 63.4), ("vit_l16", 303, 124), ("vit_h14", 631, 354)],
)
def test_counted_parameters_agree_with_the_published_table(
    image_tower: str, image: float, text: float
) -> None:
    counted = count_parameters(**names_of("clip", image_tower))
    assert counted["image_tower"] / 1e6 == pytest.approx(image, rel=0.01)
    assert counted["text_tower"] / 1e6 == pytest.approx(text, rel=0.01)


def test_only_the_similarity_depends_on_the_batch_and_only_clip_has_one() -> None:
    small, large = (
        {
            name: forward_flops_per_sample(**names_of(name, "vit_b16"), global_batch=batch)
            for name in OBJECTIVES
        }
        for batch in (1024, 2048)
    )
    assert small["superclass"] == large["superclass"]
    assert small["superclass"]["similarity"] == 0
    assert large["clip"] == small["clip"] | {"similarity": 2 * small["clip"]["similarity"]}
