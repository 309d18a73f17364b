"""What a point is expected to take before it runs: counted FLOPs, and hours at an assumed share of peak."""

from __future__ import annotations

from model_zoo.counts import count_parameters, train_flops_per_sample
from scaling.hardware import Accelerator
from scaling.records import PlannedCost
from scaling.science import Science

GPU_UTILISATION = 0.40  # of the dense peak; guess until measured runs of this harness exist
CPU_UTILISATION = 0.10  # likewise: small towers, no AMX, loading on the same cores


def num_steps(samples_seen: int, global_batch: int) -> int:
    """Optimizer steps that show at least `samples_seen` samples: the last batch is whole, never cut.

    A run therefore sees num_steps x global_batch samples, which is what plan and record count; for the
    paper's points (512M or 1.28B over 16,384) the division is exact.
    """
    return -(-samples_seen // global_batch)


def planned_cost(science: Science, accelerator: Accelerator) -> PlannedCost:
    """Parameters, model FLOPs and device-hours of one point."""
    specification = science.specification
    per_sample = train_flops_per_sample(specification, science.global_batch)
    steps = num_steps(science.samples_seen, science.global_batch)
    train_flops = sum(per_sample.values()) * steps * science.global_batch
    utilisation = assumed_utilisation(accelerator)
    return PlannedCost(
        parameters=count_parameters(specification),
        train_flops_per_sample=per_sample,
        train_flops=train_flops,
        steps=steps,
        accelerator=accelerator.name,
        utilisation=utilisation,
        device_hours=train_flops / (peak_flops(science.precision, accelerator) * utilisation) / 3600,
    )


def assumed_utilisation(accelerator: Accelerator) -> float:
    """The share of the dense peak that training is assumed to reach."""
    return CPU_UTILISATION if accelerator.name == "cpu_core" else GPU_UTILISATION


def peak_flops(precision: str, accelerator: Accelerator) -> float:
    """FLOP/s of the accelerator's dense peak in the arithmetic of a precision mode."""
    return accelerator.peak_bf16_flops if precision == "bf16_autocast" else accelerator.peak_fp32_flops
