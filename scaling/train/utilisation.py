"""Model FLOP utilisation: counted FLOPs per second as a share of the device's peak."""

from __future__ import annotations

import dataclasses
import functools
import time

import torch

from scaling.cost import peak_flops
from scaling.hardware import accelerator, accelerator_for_device_name

MEASURING_SECONDS = 0.3  # for a measured peak; long enough for a CPU's clock to rise (assumption)
# of the square products; larger ones use caches better and take 8 times as long
SIDES = (128, 256, 512, 1024)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PeakRate:
    """The most FLOPs per second that one rank's device does in a precision, and how that is known."""

    flops_per_second: float
    source: str


def model_flops_utilisation(
    samples_per_second: float, flops_per_sample: float, num_ranks: int, peak: PeakRate
) -> float:
    """Counted model FLOPs (no recomputation) per second over the peak of all ranks."""
    return samples_per_second * flops_per_sample / (num_ranks * peak.flops_per_second)


def peak_rate(device: torch.device, precision: str) -> PeakRate:
    """The data sheet's dense peak of a named accelerator; for a CPU or an unknown device, one that is measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    known = accelerator_for_device_name(name)
    if known is not None:
        sheet = accelerator(known)
        return PeakRate(flops_per_second=peak_flops(precision, sheet), source=f"{known}: {sheet.source}")
    dtype = torch.bfloat16 if precision == "bf16_autocast" else torch.float32
    return measured_peak(device, dtype, torch.get_num_threads())


@functools.cache
def measured_peak(device: torch.device, dtype: torch.dtype, num_threads: int) -> PeakRate:
    """The fastest of square matrix products of growing size, as many as fit into MEASURING_SECONDS.

    Measured once per process; `num_threads` are those that torch uses now. It says what matrix products reach here
    and now: where other processes share the cores it comes out low, and utilisation high.
    """
    deadline = time.perf_counter() + MEASURING_SECONDS
    best, best_side = 0.0, 0
    for side in SIDES:
        # Not random numbers: a run's generators must stay as they were restored.
        left = torch.linspace(-1, 1, side * side, device=device).view(side, side).to(dtype)
        right = left.clone()
        _seconds_of_product(left, right)  # the first call prepares its kernel
        seconds = min(_seconds_of_product(left, right) for _ in range(2))
        while time.perf_counter() + seconds < deadline - 0.5 * MEASURING_SECONDS:
            seconds = min(seconds, _seconds_of_product(left, right))
        best, best_side = max((best, best_side), (2 * side**3 / seconds, side))
        if time.perf_counter() + 3 * 8 * seconds > deadline:  # three products of twice the side
            break
    source = f"measured: {best_side} x {best_side} product in {str(dtype).removeprefix('torch.')}"
    return PeakRate(flops_per_second=best, source=f"{source}, {counted_threads(num_threads)}, {device.type}")


def counted_threads(number: int) -> str:
    """The number with its noun."""
    return "1 thread" if number == 1 else f"{number} threads"


def _seconds_of_product(left: torch.Tensor, right: torch.Tensor) -> float:
    began = time.perf_counter()
    left @ right
    if left.device.type == "cuda":
        torch.cuda.synchronize(left.device)
    return time.perf_counter() - began
