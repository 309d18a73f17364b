"""What this machine can do at most, measured: matrix products and moving bytes, the two roofs of a roofline."""

from __future__ import annotations

import dataclasses
import functools
import time

import torch
from torch.distributed.tensor import DTensor

from scaling.train.utilisation import counted_threads, measured_peak

# larger than the caches of today's CPUs and GPUs, so that memory is what is measured
COPIED_BYTES = 128 * 2**20
COPIES = 5  # of which the fastest counts; tens of milliseconds on a CPU


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MachinePeaks:
    """The most that one rank's device was seen to do."""

    flops_per_second: float
    bytes_per_second: float  # read and written together
    source: str

    def seconds_at_least(self, flops: int, moved_bytes: int) -> float:
        """The least time of an operator by the roofline model (Williams et al., CACM 52(4), 2009)."""
        return max(flops / self.flops_per_second, moved_bytes / self.bytes_per_second)


def measured_peaks(device: torch.device, precision: str) -> MachinePeaks:
    """Both peaks of the device in a point's precision, in under a second; measured once per process."""
    dtype = torch.bfloat16 if precision == "bf16_autocast" else torch.float32
    threads = torch.get_num_threads()
    product = measured_peak(device, dtype, threads)
    bandwidth = _copied_bytes_per_second(device, threads)
    return MachinePeaks(
        flops_per_second=product.flops_per_second,
        bytes_per_second=bandwidth,
        source=f"{product.source}; copy of {COPIED_BYTES // 2**20} MiB, {counted_threads(threads)}",
    )


@functools.cache
def _copied_bytes_per_second(device: torch.device, num_threads: int) -> float:
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    return 2 * COPIED_BYTES / min(_seconds_of_copy(source, copy) for _ in range(COPIES))


def _seconds_of_copy(source: torch.Tensor, copy: torch.Tensor) -> float:
    wait_for(source.device)
    began = time.perf_counter()
    copy.copy_(source)
    wait_for(source.device)
    return time.perf_counter() - began


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a sharded tensor that lies on this rank; any other tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def wait_for(device: torch.device) -> None:
    """Return once the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
