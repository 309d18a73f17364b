"""The part of a point's cost that follows from its science and a data sheet: steps, model FLOPs, peak rates."""

from __future__ import annotations

from model_zoo.counts import train_flops_per_sample
from scaling.hardware import Accelerator
from scaling.sweep.science import Science

GPU_UTILISATION = 0.40
"""Share of the dense peak that hardware FLOPs reach while a device computes: an assumption, replaced by what finished
runs of the sweep reached (scaling/predicting/calibration.py).

The Llama 3 paper (arXiv 2407.21783, section 3.3.2 and Table 4) states 38 to 43 % of the bf16 peak of H100s for the
model FLOPs of its pre-training.  That is 405B parameters on 8,192 and 16,384 GPUs, so for towers of 22M to 632M it
gives only the order of magnitude.
"""

CPU_UTILISATION = 0.10  # likewise, assumed: small towers, no AMX, loading on the same cores


def num_steps(samples_seen: int, global_batch: int) -> int:
    """Optimizer steps that show at least `samples_seen` samples: the last batch is whole, never cut.

    A run therefore sees num_steps x global_batch samples, which is what plan and record count; for the
    paper's points (512M or 1.28B over 16,384) the division is exact.
    """
    return -(-samples_seen // global_batch)


def decay_step(science: Science) -> int:
    """Steps before the decay, which takes at least one; those of the whole run where the schedule has no such phase."""
    steps = num_steps(science.samples_seen, science.global_batch)
    if science.schedule != "wsd":
        return steps
    return steps - max(1, num_steps(round(science.decay_share * science.samples_seen), science.global_batch))


def samples_shown(science: Science) -> int:
    """Samples of all steps of a run, those of its whole last batch included."""
    return num_steps(science.samples_seen, science.global_batch) * science.global_batch


def model_flops(science: Science) -> int:
    """Training FLOPs of a whole run: forward and backward, 2 x multiply-adds, without recomputation."""
    per_sample = train_flops_per_sample(science.specification, science.global_batch)
    return sum(per_sample.values()) * samples_shown(science)


def assumed_utilisation(accelerator: Accelerator) -> float:
    """The share of the dense peak that hardware FLOPs are assumed to reach while a device computes."""
    return CPU_UTILISATION if accelerator.name == "cpu_core" else GPU_UTILISATION


def peak_flops(precision: str, accelerator: Accelerator) -> float:
    """FLOP/s of the accelerator's dense peak in the arithmetic of a precision mode."""
    return accelerator.peak_bf16_flops if precision == "bf16_autocast" else accelerator.peak_fp32_flops


MOST_USD_PER_HOUR = 1e6  # catches a price in another unit


def check_price(usd_per_hour: float) -> float:
    """The price of one device for an hour, as given; ValueError unless it is above 0 and at most MOST_USD_PER_HOUR."""
    if not 0 < usd_per_hour <= MOST_USD_PER_HOUR:
        raise ValueError(
            f"--price ({usd_per_hour:g}) must be above 0 and at most {MOST_USD_PER_HOUR:,.0f}: US dollars of one "
            "device for an hour, for example 2.5. Leave it out for a plan without money."
        )
    return usd_per_hour
