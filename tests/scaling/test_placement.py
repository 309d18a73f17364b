"""Placement: how a given batch is split, and that nothing else follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from scaling.placement import Placement, PlacementSettings, default_workers, divisors, per_rank_batch, place
from scaling.sweep.science import Science


def put(objective: str, num_ranks: int, global_batch: int = 16_384, **settings: Any) -> Placement:
    science = Science(
        objective=objective, image_tower="vit_b16", samples_seen="512M", global_batch=global_batch
    )
    return place(science, PlacementSettings(**settings), num_ranks=num_ranks, ranks_per_node=None)


@pytest.mark.parametrize("num_ranks", [1, 2, 8, 64, 512])
@pytest.mark.parametrize("objective", ["superclass", "clip"])
def test_micro_batches_and_ranks_always_make_up_the_global_batch(objective: str, num_ranks: int) -> None:
    placement = put(objective, num_ranks)
    assert 16_384 % (placement.micro_batch * placement.num_ranks) == 0
    assert placement.num_ranks == num_ranks


def test_clip_takes_its_whole_share_of_the_batch_in_one_forward() -> None:
    assert put("clip", 8).micro_batch == 2_048


@pytest.mark.parametrize(
    ("global_batch", "micro_batch"), [(16_384, 256), (128, 64), (1_000, 250), (2 * 509, 1)]
)
def test_superclass_takes_the_largest_even_share_up_to_256(global_batch: int, micro_batch: int) -> None:
    assert put("superclass", 2, global_batch).micro_batch == micro_batch


def test_superclass_may_accumulate_in_any_micro_batch_that_divides_its_share() -> None:
    assert put("superclass", 8, micro_batch=512).micro_batch == 512
    with pytest.raises(
        ValueError, match=r"micro_batch \(500\) must divide the batch per rank \(2,048\): use 256 or 512"
    ):
        put("superclass", 8, micro_batch=500)


@pytest.mark.parametrize("objective", ["clip", "siglip", "superclip"])
def test_contrastive_objectives_go_through_cached_features_only_if_asked(objective: str) -> None:
    assert put(objective, 8).micro_batch == 2_048
    assert put(objective, 8, micro_batch=256).micro_batch == 256


def test_the_two_way_loss_takes_its_whole_share_too() -> None:
    science = Science(
        objective="superclass", image_tower="vit_b16", samples_seen="512M", classification_loss="two_way"
    )
    placement = place(science, PlacementSettings(), num_ranks=8, ranks_per_node=None)
    assert placement.micro_batch == 2_048


def test_micro_batches_hold_whole_groups_of_batch_norm() -> None:
    def resnet(num_ranks: int, **settings: Any) -> Placement:
        science = Science(objective="superclass", image_tower="resnet50", samples_seen="512M")
        return place(science, PlacementSettings(**settings), num_ranks=num_ranks, ranks_per_node=None)

    assert resnet(8).micro_batch == 256 and resnet(8, micro_batch=1_024).micro_batch == 1_024
    with pytest.raises(
        ValueError, match=r"micro_batch \(128\) must be a multiple of batch_norm_samples \(256\)"
    ):
        resnet(8, micro_batch=128)
    with pytest.raises(
        ValueError, match=r"batch_norm_samples \(256\) must divide the batch per rank \(128\)"
    ):
        resnet(128)


@pytest.mark.parametrize(
    ("num_ranks", "message"),
    [(12, "use 8 or 16 ranks"), (3, "use 2 or 4 ranks"), (20_000, "use 16,384 ranks")],
)
def test_a_batch_that_does_not_divide_names_the_nearest_numbers_of_ranks(
    num_ranks: int, message: str
) -> None:
    with pytest.raises(
        ValueError, match=rf"global_batch \(16,384\) does not divide over .* ranks: {message}"
    ):
        per_rank_batch(16_384, num_ranks)


@pytest.mark.parametrize(
    ("ranks", "cpus", "workers"), [(2, 2, 0), (4, 2, 0), (1, 2, 1), (2, 8, 3), (8, 96, 11), (8, 256, 16)]
)
def test_loading_processes_share_the_cpus_that_the_ranks_leave(ranks: int, cpus: int, workers: int) -> None:
    assert default_workers(ranks, cpus) == workers


def test_a_huge_batch_of_few_divisors_is_told_as_quickly_as_a_small_one() -> None:
    prime = 10**12 + 39
    with pytest.raises(ValueError, match="use 1 or 1,000,000,000,039 ranks"):
        per_rank_batch(prime, 8)


def test_the_divisors_of_a_number_are_all_that_divide_it() -> None:
    for number in (1, 2, 12, 49, 97, 360, 2048):
        assert divisors(number) == tuple(one for one in range(1, number + 1) if number % one == 0)


def test_parameters_that_wait_on_the_cpu_are_sharded_unless_asked_otherwise() -> None:
    for engine in ("deepspeed", "fsdp"):
        assert put("clip", 8, engine=engine, offload="all").zero_stage == 3


def test_written_settings_are_taken_as_they_are() -> None:
    placement = put(
        "superclass", 8, num_workers=5, activation_checkpointing="blocks", checkpoint_every_samples="64M"
    )
    assert (placement.num_workers, placement.activation_checkpointing) == (5, "blocks")
    assert placement.checkpoint_every_samples == 64_000_000


@pytest.mark.parametrize(
    ("settings", "stage"),
    [({}, 1), ({"engine": "fsdp"}, 3), ({"zero_stage": 3}, 3), ({"engine": "fsdp", "zero_stage": 2}, 2)],
)
def test_deepspeed_shards_optimizer_states_and_fsdp_everything_unless_asked(
    settings: dict[str, Any], stage: int
) -> None:
    assert put("superclass", 8, **settings).zero_stage == stage


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "fsdp", "zero_stage": 1}, r"zero_stage \(1\) is none of 2, 3, which engine fsdp has"),
        ({"zero_stage": 0}, r"zero_stage \(0\) needs precision fp32, not bf16_autocast: .* hidden Adam step"),
        ({"offload": "all", "zero_stage": 2}, r"offload \(all\) needs zero_stage 3, not 2"),
        (
            {"offload": "optimizer", "engine": "fsdp"},
            r"offload \(optimizer\) needs engine deepspeed, .* offload: all",
        ),
        ({"compile": True, "zero_stage": 3}, r"compile \(true\) with engine deepspeed and zero_stage 3"),
        ({"bucket_elements": "1M", "engine": "fsdp"}, r"bucket_elements \(1000000\) has no effect on engine"),
        (
            {"overlap_communication": False, "engine": "fsdp"},
            r"overlap_communication \(False\) has no effect",
        ),
        ({"shard_ranks": 4}, r"shard_ranks \(4\) needs engine fsdp, not deepspeed"),
        ({"shard_ranks": 3, "engine": "fsdp"}, r"shard_ranks \(3\) must divide the ranks \(8\)"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_with_what_can(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        put("superclass", 8, **settings)


def test_stage_0_is_for_fp32_and_shard_groups_for_fsdp() -> None:
    science = Science(objective="superclass", image_tower="vit_b16", samples_seen="512M", precision="fp32")
    unsharded = place(science, PlacementSettings(zero_stage=0), num_ranks=8, ranks_per_node=None)
    assert (unsharded.zero_stage, unsharded.shard_ranks) == (0, 8)
    assert put("superclass", 8, engine="fsdp", shard_ranks=4).shard_ranks == 4
