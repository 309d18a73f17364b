"""The counters that check our closed forms, each on what is known to mislead it, and the table they make."""

from __future__ import annotations

import dataclasses
import io

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from model_zoo.architectures import IMAGE_TOWERS
from model_zoo.image_tower import build_image_tower
from scaling.profile import counters
from scaling.profile.counted_parts import Forward, Part
from scaling.profile.counters import CounterRow, counted_parts, counter_table, print_counters
from scaling.profile.flops import count_dispatched, count_with_deepspeed, count_with_fvcore, without_memory

PARTS = {part.name: part for part in counted_parts()}
QUICK = (
    "vit_s16",
    "resnet50",
    "convnext_tiny",
    "text_s",
    "head, vit_b16",
    "superclass, vit_b16",
    "lit, vit_b16",
)


def test_every_tower_of_a_study_and_every_objective_is_counted() -> None:
    assert list(PARTS) == [
        *("vit_s16", "vit_s14", "vit_b16", "vit_b14", "vit_l16", "vit_l14", "vit_h16", "vit_h14"),
        *("resnet50", "convnext_tiny", "text_s", "text_b", "text_l", "text_h", "head, vit_b16"),
        *(f"{name}, vit_b16" for name in ("superclass", "clip", "siglip", "superclip", "lit")),
    ]


@pytest.mark.parametrize("name", QUICK)
def test_all_counters_find_the_closed_form_exactly(name: str) -> None:
    check_rows(counter_table([PARTS[name]]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PARTS if name not in QUICK])
def test_all_counters_find_the_closed_form_of_large_towers_exactly(name: str) -> None:
    check_rows(counter_table([PARTS[name]]))


def check_rows(rows: list[CounterRow]) -> None:
    assert rows
    for row in rows:
        assert {row.dispatched, row.fvcore, row.deepspeed} - {None} == {row.hardware_flops}, row
        assert row.largest_difference == 0 and row.agrees
        assert (row.fvcore is None) == (row.deepspeed is None) == row.computation.startswith("train")
        assert (row.model_flops == row.hardware_flops) or row.reasons


def test_fvcore_sees_attention_only_because_it_is_told_how_to_count_it() -> None:
    with torch.device("meta"):
        tower = build_image_tower(IMAGE_TOWERS["vit_s16"], image_size=224)
    with without_memory(tower.eval()) as on_cpu, torch.no_grad():
        images_BCHW = torch.zeros(1, 3, 224, 224)
        analysis = FlopCountAnalysis(on_cpu, images_BCHW).unsupported_ops_warnings(False)
        untold = analysis.uncalled_modules_warnings(False).total()
        assert 2 * untold / count_with_fvcore(on_cpu, images_BCHW) == pytest.approx(0.924, abs=0.001)


class CrossAttention(nn.Module):
    """Queries, keys and values of different lengths and widths."""

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(query, key, value)


def test_counters_agree_on_attention_of_unequal_lengths_and_widths() -> None:
    inputs = torch.zeros(2, 3, 5, 8), torch.zeros(2, 3, 7, 8), torch.zeros(2, 3, 7, 4)
    module = CrossAttention()
    products = 2 * 2 * 3 * 5 * 7 * (8 + 4)
    assert count_dispatched(lambda: module(*inputs)) == products
    assert count_with_fvcore(module, *inputs) == products
    assert count_with_deepspeed(module, *inputs) == products


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_the_backward_pass_of_a_grouped_convolution_is_two_products_as_large_as_its_forward(
    groups: int,
) -> None:
    convolution = nn.Conv2d(6, 12, 3, groups=groups, bias=False)
    images_BCHW = torch.randn(2, 6, 9, 9, requires_grad=True)
    forward = 2 * 2 * 12 * 7 * 7 * (6 // groups) * 9
    assert count_dispatched(lambda: convolution(images_BCHW)) == forward
    assert count_dispatched(lambda: convolution(images_BCHW).sum().backward()) == 3 * forward
    pixels_BCHW = images_BCHW.detach()  # need no gradient
    assert count_dispatched(lambda: convolution(pixels_BCHW).sum().backward()) == 2 * forward


def test_norms_activations_and_pooling_are_no_flops_to_any_counter() -> None:
    module = nn.Sequential(
        nn.BatchNorm2d(3), nn.GELU(), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(12)
    ).eval()
    images_BCHW = torch.randn(2, 3, 8, 8)
    assert count_dispatched(lambda: module(images_BCHW)) == 0
    assert count_with_fvcore(module, images_BCHW) == 0
    assert count_with_deepspeed(module, images_BCHW) == 0


def a_part(flops: int) -> Part:
    forward = Forward(
        build=lambda: nn.Linear(10, 20, device="meta"), sample=torch.empty(1, 10, device="meta"), flops=flops
    )
    return Part(name="linear", forward=forward, ways=())


@pytest.mark.parametrize("flops, status", [(400, 0), (401, 0), (403, 1), (397, 1)])
def test_counters_that_differ_by_more_than_half_a_percent_are_a_failure(
    flops: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "counted_parts", lambda: [a_part(flops)])
    console = Console(file=io.StringIO(), width=100)
    assert print_counters(console) == status
    assert isinstance(console.file, io.StringIO)
    assert ("linear (forward)" in console.file.getvalue()) == bool(status)


def test_the_table_fits_a_hundred_columns_and_explains_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    row = CounterRow(
        part="superclass, vit_b16",
        computation="train, 2nd blocks",
        model_flops=10**12,
        hardware_flops=12 * 10**11,
        dispatched=12 * 10**11,
        fvcore=12 * 10**11,
        deepspeed=12 * 10**11,
        reasons="ab",
    )
    monkeypatch.setattr(counters, "counted_parts", lambda: [a_part(400)])
    monkeypatch.setattr(counters, "_rows_of", lambda part: [row, dataclasses.replace(row, reasons="")])
    console = Console(file=io.StringIO(), width=100)
    assert print_counters(console) == 0
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "…" not in printed and max(map(len, printed.splitlines())) <= 100
    for told in (
        "model",
        "hardware",
        "1,000.0",
        "1,200.0",
        "b: hardware FLOPs: blocks are computed again",
    ):
        assert told in printed
