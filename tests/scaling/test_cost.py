"""Expected cost: counted FLOPs, named accelerators, hours by plain arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from model_zoo.counts import count_parameters, train_flops_per_sample
from model_zoo.specification import ObjectiveSpecification
from scaling.cost import planned_cost
from scaling.hardware import ACCELERATORS, DRIVER_NAMES, accelerator, accelerator_for_device_name
from scaling.science import Science


def science(**values: Any) -> Science:
    return Science(**{"objective": "clip", "image_tower": "vit_b16", "samples_seen": "512M", **values})


@pytest.mark.parametrize("objective", ["superclass", "clip"])
def test_a_run_costs_its_counted_flops_for_every_sample_it_shows(objective: str) -> None:
    cost = planned_cost(
        science(objective=objective, samples_seen="100K", warmup_samples=0), ACCELERATORS["h200_sxm"]
    )
    specification = ObjectiveSpecification(
        objective=objective,
        image_tower="vit_b16",
        text_tower="text_b" if objective == "clip" else "none",
        vocabulary_size=49_408,
    )
    assert cost.steps == 7  # 100,000 / 16,384 = 6.1
    assert cost.parameters == count_parameters(specification)
    assert cost.train_flops_per_sample == train_flops_per_sample(specification, 16_384)
    assert cost.train_flops == sum(cost.train_flops_per_sample.values()) * 7 * 16_384


def test_device_hours_are_flops_over_the_assumed_share_of_the_peak() -> None:
    cost = planned_cost(science(), accelerator("a100_sxm_80gb"))
    assert (cost.accelerator, cost.utilisation) == ("a100_sxm_80gb", 0.40)
    assert cost.device_hours == pytest.approx(cost.train_flops / 312e12 / 0.40 / 3600)


def test_plain_fp32_is_priced_at_the_fp32_peak() -> None:
    bf16, fp32 = (
        planned_cost(science(precision=p), accelerator("a100_sxm_80gb")) for p in ("bf16_autocast", "fp32")
    )
    assert fp32.train_flops == bf16.train_flops
    assert fp32.device_hours == pytest.approx(bf16.device_hours * 312 / 19.5)


def test_the_paper_s_counts_are_met_within_a_percent() -> None:
    """Forward GMAC per image of ViT-B/16 at 224 px: 17.56 image, 2.98 text, 0.038 head; x 6 to train."""
    clip = planned_cost(science(), accelerator("h100_sxm")).train_flops_per_sample
    superclass = planned_cost(science(objective="superclass"), accelerator("h100_sxm")).train_flops_per_sample
    assert clip["image_tower"] == pytest.approx(6 * 17.56e9, rel=0.01)
    assert clip["text_tower"] == pytest.approx(6 * 2.98e9, rel=0.01)
    assert superclass["head"] == pytest.approx(6 * 0.038e9, rel=0.01)
    assert superclass["text_tower"] == 0


def test_an_unknown_accelerator_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown accelerator 'h100'. Did you mean 'h100_"):
        accelerator("h100")


def test_every_accelerator_states_a_dense_peak_a_memory_and_a_source() -> None:
    for name, device in ACCELERATORS.items():
        assert device.name == name
        assert device.peak_bf16_flops > device.peak_fp32_flops > 0
        assert device.memory_bytes > 1e9
        assert device.source
    assert ACCELERATORS["h100_sxm"].peak_bf16_flops == pytest.approx(1979e12 / 2, rel=1e-3)


def test_a_device_is_found_by_the_exact_name_of_its_driver_only() -> None:
    assert accelerator_for_device_name("NVIDIA H200") == "h200_sxm"
    assert accelerator_for_device_name("NVIDIA H200 NVL") is None
    assert accelerator_for_device_name("NVIDIA L40") is None
    assert set(DRIVER_NAMES.values()) == ACCELERATORS.keys() - {"cpu_core"}


def test_a_cpu_core_is_assumed_to_reach_less_of_its_peak() -> None:
    assert planned_cost(science(), accelerator("cpu_core")).utilisation < 0.40
