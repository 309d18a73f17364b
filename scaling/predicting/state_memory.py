"""Bytes of a rank's training state, by engine and ZeRO stage: what does not depend on the micro-batch.  No torch.

Weights, gradients and AdamW's moments are float32 in every precision mode.  What DeepSpeed 0.19.8 and FSDP2 of torch
2.15 allocate was read in their sources and measured on two ranks, phase by phase: whole steps of a small tower, whose
state is most of them, peaked between 5 % above and 14 % below these sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from model_zoo.activation_segments import FP32
from model_zoo.activation_timeline import block_elements
from model_zoo.counts import classification_parameters, count_parameters
from model_zoo.specification import ObjectiveSpecification
from scaling.placement import Placement
from scaling.predicting.traffic import REUSE_ELEMENTS
from scaling.predicting.workload import Workload

STAGE_0_BUCKET_ELEMENTS = 500_000_000  # that DeepSpeed's stage 0 flattens to reduce at once; its own constant


@dataclass(frozen=True, kw_only=True, slots=True)
class Elements:
    """Numbers of parameters of an objective."""

    trained: int
    whole: int  # with the locked ones
    largest_unit: int  # in the largest of FSDP2's units: blocks and classification head
    loose: int  # outside these units


@dataclass(frozen=True, kw_only=True, slots=True)
class StateMemory:
    """Bytes on the device of one rank."""

    parameters: int  # masters, and whatever else is kept of weights from step to step
    optimizer_states: int
    # when the last forward pass of a step runs: of micro-batches before it, or a fixed buffer
    gradients_before: int
    gradients_grow: bool  # with each gradient that comes; else all that there will be is there from its start
    gradients: int  # at the end of backward
    gradients_in_step: int
    communication_forward: int  # weights gathered from other ranks, buckets of gradients that stay
    communication_backward: int
    communication_in_step: int
    host: int  # in the CPU's memory instead
    first_bucket: int = 0
    """Elements of gradients that lie in the first bucket of a backward pass before there are any others; 0: others are
    there from its start."""


@lru_cache(maxsize=512)
def count_elements(specification: ObjectiveSpecification) -> Elements:
    """The parameters of an objective."""
    counts = count_parameters(specification)
    kind, blocks = specification.kind, block_elements(specification)
    head = classification_parameters(specification)
    whole = sum(counts.values())
    return Elements(
        trained=whole - (counts["image_tower"] if kind.locks_image_tower else 0),
        whole=whole,
        largest_unit=max(*blocks, head),
        loose=whole - sum(blocks) - head,
    )


def state_memory(workload: Workload, placement: Placement) -> StateMemory:
    """The training state of one rank, without what the micro-batch adds."""
    elements = count_elements(workload.specification)
    accumulates = workload.num_micro_batches(placement) > 1
    if placement.engine == "fsdp":
        return _fsdp(elements, placement, accumulates=accumulates)
    if placement.zero_stage == 0:
        return _stage_0(elements, placement, accumulates=accumulates)
    if placement.zero_stage == 3:
        return _stage_3(elements, placement)
    # where features are cached, gradients of the loss's own parameters come with the first micro-batch alone, and the
    # engine reduces all of them after the last
    waits = (
        accumulates
        and workload.specification.couples_samples
        and (placement.zero_stage == 1 or placement.offload != "none")
    )
    overlaps = placement.overlap_communication and not waits
    return _stage_1_or_2(elements, placement, accumulates=accumulates, overlaps=overlaps)


def _stage_0(elements: Elements, placement: Placement, *, accumulates: bool) -> StateMemory:
    gradients = elements.trained * FP32
    flat = min(elements.trained, STAGE_0_BUCKET_ELEMENTS) if placement.num_ranks > 1 else 0
    return StateMemory(
        parameters=elements.whole * FP32,
        optimizer_states=2 * gradients,
        gradients_before=gradients if accumulates else 0,
        gradients_grow=not accumulates,
        gradients=gradients,
        gradients_in_step=gradients,
        communication_forward=0,
        communication_backward=0,
        communication_in_step=flat * FP32,
        host=0,
    )


def _stage_1_or_2(
    elements: Elements, placement: Placement, *, accumulates: bool, overlaps: bool
) -> StateMemory:
    """Weights are whole, and a rank's part of them once more: the flat master that AdamW steps."""
    is_offloaded = placement.offload != "none"
    shard = -(-elements.trained // placement.num_ranks) * FP32
    on_device = 0 if is_offloaded else shard
    is_whole = placement.zero_stage == 1 and (accumulates or not overlaps)
    gradients = elements.trained * FP32 if is_whole else on_device
    bucket = min(placement.bucket_elements, elements.trained)
    buckets = (1 + overlaps) * bucket * FP32
    # of the largest parameter, on its way to the CPU
    staging = elements.largest_unit * FP32 if is_offloaded else 0
    return StateMemory(
        parameters=elements.whole * FP32 + on_device,
        optimizer_states=2 * on_device,
        gradients_before=gradients if accumulates else 0,
        gradients_grow=is_whole and not accumulates,
        gradients=gradients,
        gradients_in_step=2 * on_device,  # as they came, and flat
        communication_forward=staging + (buckets if accumulates and placement.zero_stage == 1 else 0),
        communication_backward=staging + buckets,
        communication_in_step=staging,
        # masters, moments, gradients, what goes back; what comes
        host=5 * shard + staging if is_offloaded else 0,
        first_bucket=0 if is_whole or accumulates or is_offloaded else bucket,
    )


def _stage_3(elements: Elements, placement: Placement) -> StateMemory:
    shard = -(-elements.trained // placement.num_ranks) * FP32
    weights = -(-elements.whole // placement.num_ranks) * FP32
    states_on_device = 0 if placement.offload != "none" else shard
    weights_on_device = 0 if placement.offload == "all" else weights
    bucket = min(placement.bucket_elements, elements.trained) * FP32
    is_whole = placement.num_ranks == 1 and placement.offload != "all"  # a shard is all there is to gather
    gathered = 0 if is_whole else min(elements.whole, REUSE_ELEMENTS) * FP32  # from forward to backward
    return StateMemory(
        parameters=weights_on_device + states_on_device,  # what forward reads, and the masters
        optimizer_states=2 * states_on_device,
        gradients_before=states_on_device,
        gradients_grow=False,
        gradients=states_on_device,
        gradients_in_step=2 * states_on_device,
        communication_forward=gathered + bucket,
        communication_backward=gathered + bucket,
        communication_in_step=bucket,
        host=4 * (shard - states_on_device) + weights - weights_on_device,
    )


def _fsdp(elements: Elements, placement: Placement, *, accumulates: bool) -> StateMemory:
    """The root unit (parameters in no other unit) stays whole from forward to backward; in stage 2 all units do."""
    shard = -(-elements.trained // placement.shard_ranks) * FP32
    weights = -(-elements.whole // placement.shard_ranks) * FP32
    on_device = 0 if placement.offload == "all" else 1
    unit = elements.largest_unit * FP32
    whole, loose = elements.whole * FP32, elements.loose * FP32
    gradients = elements.trained * FP32 if accumulates else on_device * shard
    is_alone = placement.num_ranks == 1  # whose units are its own: nothing is exchanged, nor made flat for it
    reduced = 0 if is_alone else 2 * unit  # a unit's whole gradient, and flat
    fetched = (2 if is_alone else 3) * unit  # a unit, the next one, and what the exchange between ranks fills
    return StateMemory(
        parameters=on_device * weights,
        optimizer_states=2 * on_device * shard,
        gradients_before=gradients if accumulates else 0,
        gradients_grow=not accumulates,
        gradients=gradients,
        gradients_in_step=on_device * shard,
        communication_forward=whole if placement.zero_stage == 2 else loose + unit,
        communication_backward=reduced + (whole if placement.zero_stage == 2 else loose + fetched),
        communication_in_step=0,
        host=(1 - on_device) * (weights + 3 * shard),
    )
