"""Bytes that a rank sends per optimizer step, and what its optimizer moves, in closed form.  No torch.

Collectives are taken as rings: over n ranks an all-gather or a reduce-scatter of S bytes has each rank send
(n - 1) / n x S, an all-reduce twice that (github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md).  Weights, gradients and
embeddings travel in float32 in every precision.  Left out: scalars, and what pads shards to equal size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from model_zoo.activation_segments import FP32
from model_zoo.convolution_counts import batch_norm_statistics
from model_zoo.counts import (
    classification_parameters,
    image_tower_count,
    text_tower_count,
    trained_parameters,
)
from model_zoo.optimizer_counts import OptimizerStep, count_adamw
from model_zoo.specification import ObjectiveSpecification
from scaling.placement import Placement
from scaling.sweep.science import Science

INT64 = 8  # bytes of a count

REUSE_ELEMENTS = 1_000_000_000
"""LIVE_ELEMENTS of scaling/train/engines/deepspeed_configuration.py, which loads torch: a weight that is used again
before so many elements of others is not released in between."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTraffic:
    """Bytes that one rank sends per optimizer step."""

    weights: int  # gathered before they are computed with, or after they were stepped
    gradients: int
    features: int  # embeddings, or terms of classes, of all ranks, and their gradients
    statistics: int  # of labels and of batch norms
    host: int  # between the device and the CPU's memory, either way, for what is offloaded

    @property
    def network(self) -> int:
        """Bytes over the links between ranks."""
        return self.weights + self.gradients + self.features + self.statistics


def step_traffic(science: Science, placement: Placement) -> StepTraffic:
    """What one rank sends per optimizer step under a placement."""
    specification = science.specification
    elements = trained_parameters(specification)
    gathered = _gathered_elements(specification, science.global_batch, placement)
    shard_bytes = FP32 * elements // placement.shard_ranks
    offloaded = 0 if placement.offload == "none" else 2 * shard_bytes  # gradients down, stepped weights up
    if placement.offload == "all":
        offloaded += FP32 * gathered // placement.shard_ranks
    return StepTraffic(
        weights=_once_around(FP32 * gathered, placement.shard_ranks),
        gradients=_gradient_bytes(specification, science.global_batch, placement),
        features=_feature_bytes(specification, science.global_batch, placement.num_ranks),
        statistics=_statistic_bytes(science, placement.num_ranks),
        host=offloaded,
    )


def optimizer_step(
    specification: ObjectiveSpecification, placement: Placement, *, clips: bool
) -> OptimizerStep:
    """The cost of AdamW's step on each rank: over its shard where states are sharded, else over everything."""
    elements = trained_parameters(specification)
    return count_adamw(
        -(-elements // placement.shard_ranks) if placement.zero_stage else elements,
        clips=clips,
        copies_weights=placement.engine == "deepspeed" and placement.zero_stage > 0,
    )


def _num_micro_batches(global_batch: int, placement: Placement) -> int:
    return global_batch // placement.num_ranks // placement.micro_batch


def _once_around(size: int, num_ranks: int) -> int:
    """Bytes that a rank sends in an all-gather to, or a reduce-scatter of, `size` bytes."""
    return size * (num_ranks - 1) // num_ranks


@dataclass(frozen=True, kw_only=True, slots=True)
class _Units:
    """Numbers of parameters by unit of communication, as units are gathered at different times."""

    blocks: int
    head: int
    root: int  # all else
    locked_blocks: int
    locked_root: int


@lru_cache(maxsize=512)
def _units(specification: ObjectiveSpecification) -> _Units:
    image, text = image_tower_count(specification), text_tower_count(specification)
    image_blocks, text_blocks = (sum(block.parameters for block in tower.blocks) for tower in (image, text))
    is_locked, head = specification.kind.locks_image_tower, classification_parameters(specification)
    blocks = text_blocks + (0 if is_locked else image_blocks)
    return _Units(
        blocks=blocks,
        head=head,
        root=trained_parameters(specification) - blocks - head,
        locked_blocks=image_blocks if is_locked else 0,
        locked_root=image.parameters - image_blocks if is_locked else 0,
    )


def _gathered_elements(specification: ObjectiveSpecification, global_batch: int, placement: Placement) -> int:
    """Weights gathered by one rank per step, each time counted."""
    if placement.zero_stage == 0:
        return 0
    if placement.engine == "deepspeed" and placement.zero_stage < 3:
        return trained_parameters(specification)  # after the step
    units, num_micro_batches = _units(specification), _num_micro_batches(global_batch, placement)
    caches_features = specification.couples_samples and num_micro_batches > 1
    gathered = _by_deepspeed if placement.engine == "deepspeed" else _by_fsdp
    return gathered(units, num_micro_batches, caches_features, placement.zero_stage)


def _by_fsdp(units: _Units, num_micro_batches: int, caches_features: bool, zero_stage: int) -> int:
    """Cached features: all micro-batches but the first are encoded once more, without a backward pass.

    The head is then needed once.  The root, which stays from forward to backward, has two of each in the micro-batch
    that the loss is taken with.
    """
    num_encodings = num_micro_batches - 1 if caches_features else 0
    num_losses = 1 if caches_features else num_micro_batches
    root = (units.root + units.locked_root) * (num_micro_batches + caches_features)
    if zero_stage == 2:  # what an encoding gathers stays until a backward pass
        blocks = (units.blocks + units.locked_blocks) * num_micro_batches
        return root + blocks + units.head * num_losses
    blocks = units.blocks * (2 * num_micro_batches + num_encodings)
    locked = units.locked_blocks * (num_micro_batches + num_encodings)
    return root + blocks + locked + units.head * 2 * num_losses


def _by_deepspeed(units: _Units, num_micro_batches: int, caches_features: bool, zero_stage: int) -> int:
    """Stage 3 keeps weights from forward to backward up to REUSE_ELEMENTS, those last that backward reads first.

    Cached features change the order that it goes by: weights are then released after every pass, and gathered once
    more for the loss; checkpointed blocks, a tenth more still, which is left out.
    """
    assert zero_stage == 3, zero_stage
    towers, locked = units.blocks + units.root, units.locked_blocks + units.locked_root
    if caches_features:
        return 3 * num_micro_batches * towers + (2 * num_micro_batches - 1) * locked + 2 * units.head
    again = min(towers, max(0, towers + units.head - REUSE_ELEMENTS))
    return num_micro_batches * (towers + again + locked + units.head)


def _gradient_bytes(specification: ObjectiveSpecification, global_batch: int, placement: Placement) -> int:
    elements = trained_parameters(specification)
    size = FP32 * elements
    if placement.engine == "fsdp":  # once per step; replicas of shards add up afterwards
        num_replicas = placement.num_ranks // placement.shard_ranks
        shard_bytes = size // placement.shard_ranks
        return _once_around(size, placement.shard_ranks) + 2 * _once_around(shard_bytes, num_replicas)
    if placement.zero_stage < 2:
        # DeepSpeed 0.19.8 scatters in stage 1 by an all-reduce
        return 2 * _once_around(size, placement.num_ranks)
    # with every micro-batch; the head's once where the loss is taken once
    head = classification_parameters(specification)
    num_micro_batches = _num_micro_batches(global_batch, placement)
    num_losses = 1 if specification.couples_samples else num_micro_batches
    reduced = FP32 * (num_micro_batches * (elements - head) + num_losses * head)
    trips = 1 if placement.zero_stage == 3 else 2  # as in stage 1
    return trips * _once_around(reduced, placement.num_ranks)


def _feature_bytes(specification: ObjectiveSpecification, global_batch: int, num_ranks: int) -> int:
    """Bytes of embeddings gathered in forward and of their gradients scattered in backward, once per step."""
    contrasts, total = specification.kind.contrasts, 0
    if contrasts is not None:
        num_sides = 2 if contrasts == "info_nce" else 1  # siglip gathers captions only
        embeddings = num_sides * global_batch * specification.image.embed_width * FP32
        # and one flag each
        total += 2 * _once_around(embeddings, num_ranks) + _once_around(global_batch, num_ranks)
    if specification.kind.classifies and specification.classification_loss == "two_way":
        terms = num_ranks * 2 * specification.vocabulary_size * FP32
        total += 2 * _once_around(terms, num_ranks)
    return total


def _statistic_bytes(science: Science, num_ranks: int) -> int:
    """Bytes of the all-reduced counts of labels (online IDF) and statistics of batch norms, once per step."""
    specification = science.specification
    counts = INT64 * (science.vocabulary_size + 1) if science.idf == "online" else INT64
    norms = 0 if specification.kind.locks_image_tower else batch_norm_statistics(specification.image)
    return 2 * _once_around(counts + FP32 * norms, num_ranks)
