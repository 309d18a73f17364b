"""How long an optimizer step is predicted to take, well enough to choose between placements of one point.  No torch.

A step is hardware FLOPs at an assumed share of the accelerator's peak, a fixed time per block for starting its kernels,
and the bytes that a rank sends over its slowest link, beside the computation where the engine overlaps them.  What all
placements of a point have in common (data, the optimizer's own arithmetic) is left out.
"""

from __future__ import annotations

from functools import lru_cache

from model_zoo.activation_timeline import block_elements
from model_zoo.hardware_counts import Execution, hardware_flops_per_sample
from model_zoo.specification import ObjectiveSpecification
from scaling.cost import assumed_utilisation, peak_flops
from scaling.hardware import Accelerator
from scaling.placement import RANKS_PER_NODE, Placement
from scaling.predicting.traffic import step_traffic
from scaling.predicting.workload import Workload

# of forward and backward of a transformer block, counted and rounded; fewer when compiled
KERNELS_PER_BLOCK = 60
KERNEL_SECONDS = 5e-6  # to start one from Python; assumption, the order of magnitude of CUDA launches
NETWORK_BYTES_PER_SECOND = 50e9  # between machines: 400 Gb/s per accelerator, as in DGX H100 and H200


def seconds_per_step(workload: Workload, placement: Placement, accelerator: Accelerator) -> float:
    """The predicted seconds of one optimizer step."""
    computing = _computing_seconds(workload, placement, accelerator)
    sending = bytes_sent_per_step(workload, placement) / _link_bytes_per_second(accelerator, placement)
    if placement.overlap_communication or placement.engine == "fsdp":  # which always overlaps
        return max(computing, sending)
    return computing + sending


def _computing_seconds(workload: Workload, placement: Placement, accelerator: Accelerator) -> float:
    num_micro_batches = workload.num_micro_batches(placement)
    execution = Execution(
        activation_checkpointing=placement.activation_checkpointing,
        activation_checkpointing_every=placement.activation_checkpointing_every,
        head_recompute=placement.head_recompute,
        num_micro_batches=num_micro_batches,
        num_ranks=placement.num_ranks,
    )
    rate = peak_flops(workload.precision, accelerator) * assumed_utilisation(accelerator)
    per_sample = _hardware_flops(workload.specification, execution, workload.global_batch)
    flops = workload.global_batch // placement.num_ranks * per_sample
    kernels = num_micro_batches * KERNELS_PER_BLOCK * len(block_elements(workload.specification))
    return flops / rate + kernels * KERNEL_SECONDS


@lru_cache(maxsize=4096)
def _hardware_flops(specification: ObjectiveSpecification, execution: Execution, global_batch: int) -> int:
    return sum(hardware_flops_per_sample(specification, execution, global_batch).values())


def bytes_sent_per_step(workload: Workload, placement: Placement) -> int:
    """Bytes that a rank sends to others per optimizer step."""
    return step_traffic(workload.science, placement).network


def _link_bytes_per_second(accelerator: Accelerator, placement: Placement) -> float:
    link = accelerator.link_bytes_per_second
    return min(link, NETWORK_BYTES_PER_SECOND) if placement.num_ranks > RANKS_PER_NODE else link
