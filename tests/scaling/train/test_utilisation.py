"""Utilisation: counted FLOPs over a peak that is on a data sheet, or measured and named so."""

from __future__ import annotations

import pytest
import torch

from scaling.hardware import ACCELERATORS
from scaling.train import utilisation
from scaling.train.utilisation import PeakRate, measured_peak, model_flops_utilisation, peak_rate


def test_utilisation_is_the_share_of_all_ranks_peak() -> None:
    peak = PeakRate(flops_per_second=1e12, source="")
    assert model_flops_utilisation(100.0, 4e9, 2, peak) == pytest.approx(0.2)


@pytest.mark.parametrize(("precision", "flops"), [("bf16_autocast", 989.4e12), ("fp32", 66.9e12)])
def test_a_named_gpu_has_the_peak_of_its_data_sheet_in_the_precision_of_the_run(
    monkeypatch: pytest.MonkeyPatch, precision: str, flops: float
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    peak = peak_rate(torch.device("cuda"), precision)
    assert peak.flops_per_second == pytest.approx(flops) and ACCELERATORS["h200_sxm"].source in peak.source


def test_a_cpu_has_the_peak_that_its_matrix_products_reach_and_says_so() -> None:
    peak = peak_rate(torch.device("cpu"), "fp32")
    assert 1e8 < peak.flops_per_second < 1e14
    assert peak.source.startswith("measured: ") and "float32" in peak.source and "cpu" in peak.source
    assert peak is peak_rate(torch.device("cpu"), "fp32"), "it is measured once per process"


def test_bf16_is_measured_in_bf16() -> None:
    assert "bfloat16" in peak_rate(torch.device("cpu"), "bf16_autocast").source


def test_the_measured_peak_is_that_of_the_fastest_product_and_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine that does 1e10 FLOP/s up to a side of 256 and half of that beyond."""
    now = 0.0

    def seconds_of_product(left: torch.Tensor, right: torch.Tensor) -> float:
        nonlocal now
        seconds = 2 * len(left) ** 3 / (1e10 if len(left) <= 256 else 5e9)
        now += seconds
        return seconds

    monkeypatch.setattr(utilisation.time, "perf_counter", lambda: now)
    monkeypatch.setattr(utilisation, "_seconds_of_product", seconds_of_product)
    peak = measured_peak.__wrapped__(torch.device("cpu"), torch.float32, 3)
    assert peak.flops_per_second == pytest.approx(1e10) and 0.1 < now < 0.5
    assert peak.source == "measured: 256 x 256 product in float32, 3 threads, cpu"


def test_measuring_draws_nothing_from_a_run_s_random_numbers() -> None:
    state = torch.get_rng_state()
    measured_peak.__wrapped__(torch.device("cpu"), torch.float32, torch.get_num_threads())
    assert torch.equal(torch.get_rng_state(), state)
