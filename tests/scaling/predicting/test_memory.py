"""Predicted memory: its rules in closed form; tests/scaling/profile/test_memory_trace.py holds it to tracked steps."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from model_zoo.activation_counts import image_tower_segments, text_tower_segments
from model_zoo.activation_segments import Arithmetic
from model_zoo.architectures import IMAGE_TOWERS, TEXT_TOWERS
from model_zoo.counts import count_parameters
from model_zoo.tower_counts import count_image_tower, count_text_tower
from scaling.placement import Placement
from scaling.predicting.memory import MEMORY_CLASSES, MemoryEstimate, predicted_memory
from scaling.sweep.science import Science

GIGABYTE = 10**9


def science(**fields: Any) -> Science:
    defaults = {
        "objective": "superclass",
        "image_tower": "vit_b16",
        "samples_seen": 10**9,
        "global_batch": 4096,
    }
    return Science(**defaults | fields)


def placement(**fields: Any) -> Placement:
    defaults: dict[str, Any] = {"zero_stage": 1, "num_ranks": 8, "micro_batch": 64, "num_workers": 0}
    fields = defaults | fields
    return Placement(**{"shard_ranks": fields["num_ranks"]} | fields)


def test_the_classes_of_an_estimate_add_up_to_its_total() -> None:
    estimate = predicted_memory(science(), placement())
    assert estimate.total == sum(getattr(estimate, name) for name in MEMORY_CLASSES)
    assert estimate.allocated == estimate.total - estimate.fragmentation
    assert all(getattr(estimate, name) >= 0 for name in MEMORY_CLASSES)


@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_the_segments_of_an_image_tower_have_all_its_parameters(name: str) -> None:
    tower = IMAGE_TOWERS[name]
    for pooling in tower.poolings:
        size = 7 * tower.stride
        segments = image_tower_segments(
            tower, Arithmetic(bf16_autocast=True), image_size=size, pooling=pooling
        )
        counted = count_image_tower(tower, image_size=size, pooling=pooling)
        assert sum(segment.parameters for segment in segments) == counted.parameters


@pytest.mark.parametrize("name", TEXT_TOWERS)
def test_the_segments_of_a_text_tower_have_all_its_parameters(name: str) -> None:
    sizes = {"vocabulary_size": 1000, "context_length": 20}
    segments = text_tower_segments(TEXT_TOWERS[name], Arithmetic(bf16_autocast=False), **sizes)
    counted = count_text_tower(TEXT_TOWERS[name], **sizes)
    assert sum(segment.parameters for segment in segments) == counted.parameters


def test_a_transformer_block_keeps_36_bytes_per_feature_in_bf16_and_64_in_fp32() -> None:
    """By hand.  fp32, 16 floats: stream, its norm, queries, keys, values, attended; stream, norm, 4 + 4 of the MLP."""
    tower = IMAGE_TOWERS["vit_l14"]
    num_tokens, width, num_heads = 257, 1024, 16
    statistics = num_tokens * (2 * 8 + 4 * num_heads)
    for bf16, size in ((True, 36), (False, 64)):
        segments = image_tower_segments(tower, Arithmetic(bf16_autocast=bf16), image_size=224, pooling="mean")
        assert segments[1].kept == size * num_tokens * width + statistics


def test_without_sharding_a_point_takes_sixteen_bytes_per_parameter_in_its_step() -> None:
    point = science(image_tower="vit_h14", global_batch=8)
    estimate = predicted_memory(
        point, placement(engine="deepspeed", zero_stage=0, num_ranks=1, micro_batch=8)
    )
    assert estimate.parameters + estimate.optimizer_states == 12 * sum(
        count_parameters(point.specification).values()
    )


def test_each_zero_stage_takes_less_than_the_one_before_for_a_large_tower_on_many_ranks() -> None:
    point = science(image_tower="vit_h14", objective="clip", global_batch=16_384)
    totals = [
        predicted_memory(point, placement(zero_stage=stage, num_ranks=64, micro_batch=256)).total
        for stage in (0, 1)
    ]
    assert totals[1] < totals[0] - 5 * GIGABYTE
    sharded = [
        predicted_memory(
            point, placement(engine="fsdp", zero_stage=stage, num_ranks=64, micro_batch=256)
        ).total
        for stage in (2, 3)
    ]
    assert sharded[1] < sharded[0] - 3 * GIGABYTE


def test_shards_shrink_with_the_ranks_that_share_them() -> None:
    sizes = [
        predicted_memory(
            science(global_batch=64 * 64),
            placement(engine="fsdp", zero_stage=3, shard_ranks=ranks, num_ranks=64),
        ).optimizer_states
        for ranks in (1, 2, 8, 64)
    ]
    assert sizes[0] == pytest.approx(2 * sizes[1], rel=1e-6)
    assert sizes[0] == pytest.approx(64 * sizes[3], rel=1e-6)


def test_one_rank_gathers_no_weights_but_those_that_wait_on_the_cpu() -> None:
    """It has them whole; what its communication is left with is the bucket that DeepSpeed keeps."""
    point = science(global_batch=64)
    whole, bucket = 4 * sum(count_parameters(point.specification).values()), 4 * 50_000_000
    found = {
        (num_ranks, offload): predicted_memory(
            point, placement(zero_stage=3, num_ranks=num_ranks, micro_batch=32, offload=offload)
        ).communication
        for num_ranks in (1, 2)
        for offload in ("none", "all")
    }
    assert found[1, "none"] == bucket
    assert found[1, "all"] == found[2, "none"] == found[2, "all"] == whole + bucket


@pytest.mark.parametrize(("objective", "tower"), [("clip", "vit_s16"), ("superclass", "vit_b16")])
def test_a_share_of_gradients_is_there_once_the_first_bucket_is_full(objective: str, tower: str) -> None:
    """With room for all gradients the bucket is full when all activations are gone; a small one is full at once."""
    point = science(objective=objective, image_tower=tower, global_batch=64)

    def peak(bucket_elements: int) -> MemoryEstimate:
        return predicted_memory(point, placement(num_ranks=1, bucket_elements=bucket_elements))

    trained = sum(count_parameters(point.specification).values())
    whole, small = peak(trained), peak(1_000_000)
    # of the head's product, from forward on
    own = 0 if objective == "clip" else 4 * (768 + 1) * point.vocabulary_size
    assert whole.gradients <= own and whole.communication == 2 * 4 * trained
    assert small.gradients == 4 * trained + own and small.communication == 2 * 4 * 1_000_000


def test_what_is_offloaded_leaves_the_device_for_the_hosts_memory() -> None:
    kept = predicted_memory(science(), placement())
    offloaded = predicted_memory(science(), placement(offload="optimizer"))
    assert offloaded.optimizer_states == 0 and kept.host == 0
    assert offloaded.host >= kept.optimizer_states
    assert offloaded.total < kept.total
    assert offloaded.needed(on_accelerator=True) == offloaded.total, "the host's memory is another"
    assert (
        offloaded.needed(on_accelerator=False) == offloaded.total + offloaded.host
    ), "on a CPU it is the same"


@pytest.mark.parametrize("tower", ["vit_b16", "resnet50", "convnext_tiny"])
@pytest.mark.parametrize("precision", ["bf16_autocast", "fp32"])
def test_recomputing_more_takes_less(tower: str, precision: str) -> None:
    totals = [
        predicted_memory(
            science(image_tower=tower, precision=precision),
            placement(micro_batch=256, activation_checkpointing=mode),
        ).total
        for mode in ("none", "operations", "blocks", "offload")
    ]
    assert totals == sorted(totals, reverse=True) and len(set(totals)) == len(totals)


def test_recomputing_one_block_of_several_takes_something_between() -> None:
    def total(mode: str, every: int) -> int:
        changes = {"activation_checkpointing": mode, "activation_checkpointing_every": every}
        return predicted_memory(science(), placement(micro_batch=256, **changes)).total

    sizes = [total("blocks", 1), total("blocks", 2), total("blocks", 3), total("none", 1)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 4


def test_similarities_take_five_matrices_of_a_ranks_rows_and_the_columns_of_all() -> None:
    """By hand, forward: products both ways, one more of each masked and its log-softmax, less the first masked one."""

    def matrices(num_ranks: int) -> int:
        tiny = {"image_tower": "vit_nano8", "image_size": 8, "context_length": 4}
        point = science(objective="clip", global_batch=4096 * num_ranks, **tiny)
        return predicted_memory(point, placement(num_ranks=num_ranks, micro_batch=4096)).similarity_matrix

    assert matrices(8) == 5 * 4096 * (8 * 4096) * 4
    assert matrices(16) == 2 * matrices(8)


def test_cached_features_make_room_for_a_batch_that_does_not_fit_at_once() -> None:
    point = science(objective="clip", global_batch=16_384)
    whole = predicted_memory(point, placement(micro_batch=2048)).total
    cached = predicted_memory(point, placement(micro_batch=128)).total
    assert cached < whole / 5


def test_the_head_never_holds_all_logits_of_a_large_batch() -> None:
    point = science(global_batch=16_384 * 8)
    estimate = predicted_memory(point, placement(micro_batch=16_384, activation_checkpointing="offload"))
    assert estimate.logits < 16_384 * point.vocabulary_size * 2 / 3


def test_predicting_and_solving_load_no_torch() -> None:
    code = "import sys, scaling.predicting.memory, scaling.predicting.feasibility; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
