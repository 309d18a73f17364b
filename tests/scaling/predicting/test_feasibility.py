"""The feasibility solver: what it may change, what it must not, and what it says where nothing fits."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from scaling.hardware import Accelerator, accelerator
from scaling.placement import Placement, PlacementSettings, place
from scaling.predicting.feasibility import CHOSEN, MARGIN, solve, why
from scaling.predicting.memory import predicted_memory
from scaling.predicting.throughput import seconds_per_step
from scaling.predicting.workload import workload_of
from scaling.sweep.science import Science

H100 = accelerator("h100_sxm")


def science(**fields: Any) -> Science:
    return Science(**{"objective": "clip", "image_tower": "vit_l14", "samples_seen": 10**9} | fields)


def settings(**fields: Any) -> PlacementSettings:
    return PlacementSettings(num_workers=0, **fields)


def device(memory_gigabytes: float) -> Accelerator:
    return Accelerator(
        name="small",
        peak_bf16_flops=H100.peak_bf16_flops,
        peak_fp32_flops=H100.peak_fp32_flops,
        memory_bytes=memory_gigabytes * 1e9,
        memory_bytes_per_second=H100.memory_bytes_per_second,
        link_bytes_per_second=H100.link_bytes_per_second,
        source="made up",
    )


def is_within(point: Science, placement: Placement, what: Accelerator) -> bool:
    return predicted_memory(point, placement).total <= (1 - MARGIN) * what.memory_bytes


@pytest.mark.parametrize("objective", ["superclass", "clip"])
@pytest.mark.parametrize("memory_gigabytes", [24, 40, 80])
def test_the_choice_is_the_fastest_of_all_that_fit(objective: str, memory_gigabytes: float) -> None:
    point, what, num_ranks = science(objective=objective, global_batch=2048), device(memory_gigabytes), 8
    chosen = solve(point, settings(), what, num_ranks)
    modes, stages, sizes = ("none", "operations", "blocks"), (1, 2, 3), [2**power for power in range(9)]
    others = [
        place(
            point,
            settings(activation_checkpointing=mode, zero_stage=stage, micro_batch=size),
            num_ranks=num_ranks,
            ranks_per_node=None,
        )
        for mode, stage, size in itertools.product(modes, stages, sizes)
    ]
    seconds = [
        seconds_per_step(workload_of(point), other, what) for other in others if is_within(point, other, what)
    ]
    assert is_within(point, chosen, what)
    assert seconds_per_step(workload_of(point), chosen, what) == min(seconds)


def test_smaller_devices_recompute_or_take_smaller_micro_batches_before_they_refuse() -> None:
    chosen = [solve(science(), settings(), device(size), 8) for size in (700, 80, 24)]
    assert (chosen[0].micro_batch, chosen[0].activation_checkpointing) == (2048, "none")
    assert chosen[1] != chosen[0] and chosen[2] != chosen[1]


def test_what_the_user_wrote_is_kept() -> None:
    written = {
        "micro_batch": 32,
        "zero_stage": 2,
        "activation_checkpointing": "blocks",
        "head_recompute": True,
    }
    for names in ((), ("micro_batch",), ("zero_stage", "activation_checkpointing"), tuple(written)):
        given = {name: written[name] for name in names}
        chosen = solve(science(objective="superclass"), settings(**given), H100, 8)
        assert {name: getattr(chosen, name) for name in names} == given


def test_only_three_fields_of_a_placement_are_chosen() -> None:
    asked = settings(engine="fsdp", compile=True, shard_ranks=4)
    base = place(science(), asked, num_ranks=8, ranks_per_node=None)
    chosen = solve(science(), asked, device(24), 8)
    changed = {name for name, value in chosen.model_dump().items() if value != getattr(base, name)}
    assert changed and changed <= set(CHOSEN)


def test_the_global_batch_is_split_without_remainder() -> None:
    point = science(objective="superclass", global_batch=12_000)
    chosen = solve(point, settings(), device(24), 8)
    assert 12_000 // 8 % chosen.micro_batch == 0


def test_micro_batches_keep_the_groups_of_a_batch_norm_whole() -> None:
    point = science(objective="superclass", image_tower="resnet50", batch_norm_samples=64)
    assert solve(point, settings(), device(9), 8).micro_batch % 64 == 0


def test_of_equally_fast_placements_the_lowest_stage_is_chosen() -> None:
    for engine, lowest in (("deepspeed", 1), ("fsdp", 2)):
        chosen = solve(science(objective="superclass"), settings(engine=engine), H100, 64)
        assert chosen.zero_stage == lowest


def test_the_stage_that_trains_differently_is_never_chosen() -> None:
    point = science(precision="fp32", objective="superclass", image_tower="vit_s16")
    assert solve(point, settings(), H100, 1).zero_stage == 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("offload", ["none", "optimizer", "all"])
@pytest.mark.parametrize("engine", ["deepspeed", "fsdp"])
def test_what_is_chosen_may_be_written(engine: str, offload: str, compiled: bool) -> None:
    """Also on devices so small that only the stage with the least memory would fit, if the engine had it."""
    asked = {"engine": engine, "offload": offload, "compile": compiled}
    point = science(objective="superclass", image_tower="vit_s16", precision="fp32", global_batch=1024)
    for memory_gigabytes in (2, 3, 4, 6, 24):
        try:
            chosen = solve(point, settings(**asked), device(memory_gigabytes), 4)
        except ValueError:
            continue
        written = {**asked, **{field: getattr(chosen, field) for field in CHOSEN}}
        assert place(point, settings(**written), num_ranks=4, ranks_per_node=None) == chosen


def test_a_refusal_says_what_is_needed_and_each_way_out_of_it_fits() -> None:
    asked, what = {"micro_batch": 256, "zero_stage": 1, "activation_checkpointing": "none"}, H100
    point = science(image_tower="vit_h14")
    with pytest.raises(ValueError) as refused:
        solve(point, settings(**asked), what, 8)
    sentence = str(refused.value)
    needed = predicted_memory(point, place(point, settings(**asked), num_ranks=8, ranks_per_node=None)).total
    assert f"needs {needed / 1e9:.3g} GB on h100_sxm, which has 80 GB" in sentence
    ways = re.findall(r"(micro_batch|activation_checkpointing|zero_stage) (\w+) \(([\d.]+) GB\)", sentence)
    assert {way for way, _, _ in ways} == {"micro_batch", "activation_checkpointing"}
    for field, value, size in ways:
        changed = settings(**asked | {field: value})
        placement = place(point, changed, num_ranks=8, ranks_per_node=None)
        assert is_within(point, placement, what)
        assert predicted_memory(point, placement).total / 1e9 == pytest.approx(float(size), rel=0.01)


def test_where_one_change_is_not_enough_a_refusal_names_several_together() -> None:
    asked = settings(micro_batch=2048, activation_checkpointing="none", zero_stage=1)
    sentence = why(science(image_tower="vit_h14"), asked, device(10), 8)
    assert " with " in sentence.split("use ")[1], sentence


def test_where_nothing_fits_the_least_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"the least is micro_batch 1 .* use more ranks, offload, or devices"
    ):
        solve(science(image_tower="vit_h14"), settings(), device(4), 8)


def test_points_that_differ_in_length_and_seed_are_placed_alike() -> None:
    first = solve(science(samples_seen=10**8, seed=1), settings(), H100, 8)
    assert solve(science(samples_seen=10**9, seed=2), settings(), H100, 8) == first
