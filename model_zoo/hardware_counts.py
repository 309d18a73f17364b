"""Hardware FLOPs of a training step: the model FLOPs of counts.py and what a device computes besides.  No torch.

Model FLOPs measure what the model learns from (MFU), hardware FLOPs what the device does (HFU); a plan's time and price
follow from the second.  Both are 2 x multiply-adds of matrix products and convolutions, without elementwise work and
the optimizer.  Neither is reduced by the masked tiles that a causal kernel skips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model_zoo.activation_segments import ActivationCheckpointing
from model_zoo.block_counts import TowerCount
from model_zoo.counts import (
    image_tower_count,
    logit_flops,
    projection_flops,
    similarity_flops,
    text_tower_count,
    train_flops_per_sample,
)
from model_zoo.specification import ObjectiveSpecification


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How a step is executed, as far as its hardware FLOPs depend on it."""

    activation_checkpointing: ActivationCheckpointing = "none"
    activation_checkpointing_every: int = 1
    head_recompute: bool = False
    num_micro_batches: int = 1  # of a rank's share of the global batch
    num_ranks: int = 1
    fused_attention: bool = True  # kernels that keep no scores, as scaled_dot_product_attention chooses


@dataclass(frozen=True, kw_only=True, slots=True)
class Overhead:
    """FLOPs per sample that are not model FLOPs."""

    part: str  # image_tower, text_tower, head or similarity, as in train_flops_per_sample
    cause: str  # a key of CAUSES
    flops: int


CAUSES = {
    "checkpointing": "blocks computed again in backward (arXiv 1604.06174)",
    "fused_attention": "scores computed again in backward (FlashAttention, arXiv 2205.14135, section 3.1)",
    "head_recompute": "logits computed again in backward",
    "cached_features": "a second forward of all micro-batches but the first (arXiv 2101.06983)",
    "local_loss": "rows and columns of the similarity matrix formed on different ranks",
}
"""Why a device computes more than model FLOPs."""


def overheads(
    specification: ObjectiveSpecification, execution: Execution, global_batch: int
) -> list[Overhead]:
    """What a step computes besides the model, per sample, part by part and cause by cause."""
    found = [
        *_of_towers(specification, execution),
        *_of_cached_features(specification, execution),
        *_of_losses(specification, execution, global_batch),
    ]
    return [overhead for overhead in found if overhead.flops]


def hardware_flops_per_sample(
    specification: ObjectiveSpecification, execution: Execution, global_batch: int
) -> dict[str, int]:
    """FLOPs of one forward and backward pass on the device, per sample, by the parts of train_flops_per_sample."""
    flops = dict(train_flops_per_sample(specification, global_batch))
    for overhead in overheads(specification, execution, global_batch):
        flops[overhead.part] += overhead.flops
    return flops


def _of_towers(specification: ObjectiveSpecification, execution: Execution) -> Iterator[Overhead]:
    for part, tower in _trained_towers(specification).items():
        recomputed = tower.recomputed_flops(
            execution.activation_checkpointing, execution.activation_checkpointing_every
        )
        yield Overhead(part=part, cause="checkpointing", flops=recomputed)
        if execution.fused_attention:
            yield Overhead(part=part, cause="fused_attention", flops=tower.score_flops)


def _trained_towers(specification: ObjectiveSpecification) -> dict[str, TowerCount]:
    text = {"text_tower": text_tower_count(specification)}
    if specification.kind.locks_image_tower:
        return text
    return {"image_tower": image_tower_count(specification, training=True)} | text


def _of_cached_features(specification: ObjectiveSpecification, execution: Execution) -> Iterator[Overhead]:
    """Everything but the losses, once more for all micro-batches but one; fractions of a FLOP are cut."""
    if not specification.couples_samples:
        return
    encoded = {
        "image_tower": image_tower_count(specification, training=True).forward_flops,
        "text_tower": text_tower_count(specification).forward_flops,
        "head": sum(projection_flops(specification)),
    }
    number = execution.num_micro_batches
    for part, flops in encoded.items():
        yield Overhead(part=part, cause="cached_features", flops=flops * (number - 1) // number)


def _of_losses(
    specification: ObjectiveSpecification, execution: Execution, global_batch: int
) -> Iterator[Overhead]:
    if execution.head_recompute or specification.classification_loss == "two_way":
        yield Overhead(part="head", cause="head_recompute", flops=logit_flops(specification))
    if execution.num_ranks > 1 and specification.kind.contrasts == "info_nce":
        again = 3 * similarity_flops(specification, global_batch)
        yield Overhead(part="similarity", cause="local_loss", flops=again)
