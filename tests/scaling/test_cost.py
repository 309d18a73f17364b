"""Expected cost: counted FLOPs, hours of predicted steps, bytes of samples and checkpoints, by plain arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.counts import count_parameters, train_flops_per_sample
from model_zoo.specification import ObjectiveSpecification
from scaling.cost import check_price, decay_step, model_flops, num_steps, samples_shown
from scaling.hardware import ACCELERATORS, accelerator
from scaling.placement import PlacementSettings, place
from scaling.predicting.prediction import planned_cost
from scaling.predicting.storage import checkpoint_bytes, num_checkpoints_kept, weight_bytes
from scaling.predicting.throughput import seconds_per_step
from scaling.predicting.workload import workload_of
from scaling.records import PlannedCost
from scaling.sweep.science import Science


def science(**values: Any) -> Science:
    return Science(**{"objective": "clip", "image_tower": "vit_b16", "samples_seen": "512M", **values})


def cost(
    asked: Science, device: str = "h100_sxm", num_ranks: int = 8, sample_bytes: float = 1e4, **settings: Any
) -> PlannedCost:
    placement = place(asked, PlacementSettings(**settings), num_ranks=num_ranks, ranks_per_node=None)
    return planned_cost(asked, placement, accelerator(device), sample_bytes=sample_bytes)


@pytest.mark.parametrize("objective", ["superclass", "clip"])
def test_a_run_costs_its_counted_flops_for_every_sample_it_shows(objective: str) -> None:
    asked = science(objective=objective, samples_seen="100K", warmup_samples=0)
    found = cost(asked)
    specification = ObjectiveSpecification(
        objective=objective,
        image_tower="vit_b16",
        text_tower="text_b" if objective == "clip" else "none",
        vocabulary_size=49_408,
    )
    assert found.steps == num_steps(100_000, 16_384) == 7  # 100,000 / 16,384 = 6.1
    assert samples_shown(asked) == 7 * 16_384
    assert found.parameters == count_parameters(specification)
    assert found.train_flops_per_sample == train_flops_per_sample(specification, 16_384)
    assert found.train_flops == sum(found.train_flops_per_sample.values()) * 7 * 16_384 == model_flops(asked)


def test_device_hours_are_those_of_all_predicted_steps_on_all_ranks() -> None:
    asked, device = science(), accelerator("a100_sxm_80gb")
    found = cost(asked, "a100_sxm_80gb", 64)
    placement = place(asked, PlacementSettings(), num_ranks=64, ranks_per_node=None)
    seconds = seconds_per_step(workload_of(asked), placement, device)
    assert found.device_hours == pytest.approx(31_250 * 64 * seconds / 3600)
    assert found.hardware_flops is not None
    assert found.utilisation == pytest.approx(found.hardware_flops / (312e12 * found.device_hours * 3600))


def test_no_run_is_expected_to_reach_more_than_the_assumed_share_of_the_peak() -> None:
    for tower in ("vit_s16", "vit_b16", "vit_l16", "vit_h14"):
        for num_ranks in (8, 64, 512):
            assert 0 < cost(science(image_tower=tower), num_ranks=num_ranks).utilisation <= 0.40
    assert cost(science(), "cpu_core", 1).utilisation <= 0.10


def test_small_towers_on_many_ranks_lose_time_to_communication() -> None:
    small = science(objective="superclass", image_tower="vit_s16")
    assert cost(small, num_ranks=512).device_hours > 1.2 * cost(small, num_ranks=8).device_hours


def test_checkpointing_costs_hardware_flops_and_hours_but_no_model_flops() -> None:
    plain, recomputing = cost(science()), cost(science(), activation_checkpointing="blocks")
    assert plain.train_flops == recomputing.train_flops
    assert plain.hardware_flops is not None and recomputing.hardware_flops is not None
    assert 1.1 < recomputing.hardware_flops / plain.hardware_flops < 4 / 3  # at most one forward more
    assert recomputing.device_hours > 1.1 * plain.device_hours


def test_plain_fp32_is_priced_at_the_fp32_peak() -> None:
    bf16, fp32 = (cost(science(precision=p), "a100_sxm_80gb") for p in ("bf16_autocast", "fp32"))
    assert fp32.train_flops == bf16.train_flops
    assert fp32.device_hours / bf16.device_hours == pytest.approx(312 / 19.5, rel=0.1)


def test_the_paper_s_counts_are_met_within_a_percent() -> None:
    """Forward GMAC per image of ViT-B/16 at 224 px: 17.56 image, 2.98 text, 0.038 head; x 6 to train."""
    clip = cost(science()).train_flops_per_sample
    superclass = cost(science(objective="superclass")).train_flops_per_sample
    assert clip["image_tower"] == pytest.approx(6 * 17.56e9, rel=0.01)
    assert clip["text_tower"] == pytest.approx(6 * 2.98e9, rel=0.01)
    assert superclass["head"] == pytest.approx(6 * 0.038e9, rel=0.01)
    assert superclass["text_tower"] == 0


def test_every_sample_that_is_shown_is_read() -> None:
    found = cost(science(samples_seen="100K", warmup_samples=0), sample_bytes=25_000.0)
    assert found.data_bytes == 7 * 16_384 * 25_000


def test_a_checkpoint_holds_weights_and_two_moments_of_what_is_trained() -> None:
    asked, locked = science(objective="clip"), science(
        objective="lit", image_init="timm:vit_base_patch16_224"
    )
    parameters = sum(count_parameters(asked.specification).values())
    assert checkpoint_bytes(asked) == 12 * parameters and weight_bytes(asked) == 4 * parameters
    image_tower = count_parameters(locked.specification)["image_tower"]
    whole = sum(count_parameters(locked.specification).values())
    assert checkpoint_bytes(locked) == 12 * (whole - image_tower) + 4 * image_tower


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 2),  # of 6 written
        ({"keep_checkpoints": 9}, 6),
        ({"checkpoint_every_samples": 0}, 1),  # only at the end
        ({"checkpoint_every_samples": "512M"}, 1),
        ({"keep_every_samples": "200M"}, 4),
    ],
)
def test_the_disk_holds_the_checkpoints_that_stay(settings: dict[str, Any], kept: int) -> None:
    asked = science()
    placement = place(asked, PlacementSettings(**settings), num_ranks=8, ranks_per_node=None)
    assert num_checkpoints_kept(asked, placement) == kept
    assert cost(asked, **settings).disk_bytes == kept * checkpoint_bytes(asked) + weight_bytes(asked)


ALL_KEPT = {"keep_checkpoints": 99}
AT_THE_DECAY = {"checkpoint_every_samples": "409.6M"}


@pytest.mark.parametrize(
    ("settings", "branch_step", "kept"),
    [
        ({}, 0, 3),  # the last two of 100M, ..., 400M, 409.6M, 500M, 512M, and that of the decay
        ({"keep_checkpoints": 3}, 0, 3),  # which is among the last three
        (ALL_KEPT, 0, 7),
        (ALL_KEPT, 12_500, 5),  # after 204.8M: 300M, 400M, 409.6M, 500M, 512M
        ({"checkpoint_every_samples": 0}, 0, 2),  # before the decay and at the end
        (AT_THE_DECAY, 0, 2),  # 409.6M, 512M
        ({**AT_THE_DECAY, "keep_checkpoints": 1}, 0, 2),
        ({"keep_every_samples": "202M"}, 0, 4),  # 300M; 409.6M, the first after 404M; 500M, 512M
        ({}, 25_000, 2),  # that of the decay is the other run's
    ],
)
def test_a_run_of_a_trunk_also_keeps_the_checkpoint_before_its_decay(
    settings: dict[str, Any], branch_step: int, kept: int
) -> None:
    """512M samples, of which the last fifth decays: from 409.6M, step 25,000."""
    asked = science(schedule="wsd")
    placement = place(asked, PlacementSettings(**settings), num_ranks=8, ranks_per_node=None)
    assert num_checkpoints_kept(asked, placement, branch_step) == kept


@settings(max_examples=200)
@given(
    steps=st.integers(2, 60),
    decay=st.integers(1, 60),
    every=st.integers(1, 30),
    latest=st.integers(1, 5),
    multiple=st.integers(0, 4000),
    branch=st.integers(0, 60),
)
def test_the_checkpoints_that_stay_are_those_of_a_run_told_step_by_step(
    steps: int, decay: int, every: int, latest: int, multiple: int, branch: int
) -> None:
    """Batches of 100 samples; one of the latest that is also a first after a multiple is counted twice."""
    multiple = max(multiple, 100 * every) if multiple else 0
    asked = science(
        schedule="wsd",
        samples_seen=100 * steps,
        global_batch=100,
        warmup_samples=0,
        decay_share=min(decay, steps) / steps,
    )
    decays = decay_step(asked)
    branch = min(branch, decays)
    asked_placement = PlacementSettings(
        checkpoint_every_samples=100 * every, keep_checkpoints=latest, keep_every_samples=multiple
    )
    placement = place(asked, asked_placement, num_ranks=1, ranks_per_node=None)
    written = [step for step in range(branch + 1, steps + 1) if step % every == 0 or step in (decays, steps)]
    for_ever = [
        step
        for before, step in zip([branch, *written], written, strict=False)
        if multiple and 100 * step // multiple > 100 * before // multiple
    ]
    besides = {decays} & {*written} - {*written[-latest:], *for_ever}
    kept = min(len(written), len(written[-latest:]) + len(for_ever) + len(besides))
    assert num_checkpoints_kept(asked, placement, branch) == kept


def test_the_predicted_peak_is_the_sum_of_its_classes() -> None:
    found = cost(science())
    assert found.peak_memory_bytes == sum(found.memory_bytes.values())
    assert (
        4 * sum(found.parameters.values())
        < found.peak_memory_bytes
        < 20 * ACCELERATORS["h100_sxm"].memory_bytes
    )


@pytest.mark.parametrize("price", [0.0, -2.5, float("nan"), float("inf"), 1e308])
def test_a_price_that_no_device_has_is_refused(price: float) -> None:
    with pytest.raises(ValueError, match=r"--price \(.*\) must be above 0"):
        check_price(price)
