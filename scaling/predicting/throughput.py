"""How long an optimizer step is predicted to take, well enough to choose between placements of one point.  No torch.

A step is hardware FLOPs at an assumed share of the accelerator's peak, a fixed time per block for starting its kernels,
the bytes that a rank sends over its slowest link, beside the computation where the engine overlaps them, and then the
optimizer: elementwise work, which takes as long as its bytes take to be read and written.  What is offloaded travels
to the CPU's memory and back besides, and is stepped there.  Left out: waiting for data, and that DeepSpeed gathers the
weights of stages 1 and 2 after the step, beside nothing (of ViT-H/14, 1 % of a step on 64 H200s, 10 % on 512).
"""

from __future__ import annotations

from functools import lru_cache

from model_zoo.activation_timeline import block_elements
from model_zoo.hardware_counts import Execution, hardware_flops_per_sample
from model_zoo.specification import ObjectiveSpecification
from scaling.cost import assumed_utilisation, peak_flops
from scaling.hardware import Accelerator
from scaling.placement import RANKS_PER_NODE, Placement
from scaling.predicting.traffic import optimizer_step, step_traffic
from scaling.predicting.workload import Workload

# of forward and backward of a transformer block, counted and rounded; fewer when compiled
KERNELS_PER_BLOCK = 60
KERNEL_SECONDS = 5e-6  # to start one from Python; assumption, the order of magnitude of CUDA launches
NETWORK_BYTES_PER_SECOND = RANKS_PER_NODE * 50e9
"""Between machines: a card of 400 Gb/s per accelerator, as in DGX H100 and H200.  NCCL lays a ring over each card and a
share of the bytes on each ring, so that all cards of a machine together carry what one of its ranks sends
(github.com/NVIDIA/nccl-tests, issues 160 and 309: 366 GB/s over four machines of eight)."""

HOST_LINK_BYTES_PER_SECOND = 32e9  # from a device to the CPU's memory: 16 lanes of PCIe 4; assumption for all
HOST_MEMORY_BYTES_PER_SECOND = 50e9
"""Of the CPU's memory, a rank's share: two sockets of eight channels of DDR4-3200, 205 GB/s each, over eight ranks, as
in DGX A100."""


def seconds_per_step(workload: Workload, placement: Placement, accelerator: Accelerator) -> float:
    """The predicted seconds of one optimizer step."""
    computing = _computing_seconds(workload, placement, accelerator)
    traffic = step_traffic(workload.science, placement)
    sending = traffic.network / _link_bytes_per_second(accelerator, placement)
    overlaps = placement.overlap_communication or placement.engine == "fsdp"  # which always overlaps
    computed = max(computing, sending) if overlaps else computing + sending
    return computed + _optimizer_seconds(workload, placement, accelerator, offloaded=traffic.host)


def _optimizer_seconds(
    workload: Workload, placement: Placement, accelerator: Accelerator, *, offloaded: int
) -> float:
    """Of AdamW where its states are, and of bringing what is offloaded there and back.

    A CPU's memory is the host's: what is offloaded is copied within it.
    """
    step = optimizer_step(workload.specification, placement, clips=workload.clips_gradients)
    if placement.offload == "none" or not accelerator.is_apart:
        return (step.memory_bytes + offloaded) / accelerator.memory_bytes_per_second
    return step.memory_bytes / HOST_MEMORY_BYTES_PER_SECOND + offloaded / HOST_LINK_BYTES_PER_SECOND


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


def _link_bytes_per_second(accelerator: Accelerator, placement: Placement) -> float:
    link = accelerator.link_bytes_per_second
    return min(link, NETWORK_BYTES_PER_SECOND) if placement.num_ranks > RANKS_PER_NODE else link
