"""How a point is spread over ranks: everything that changes speed and memory, and nothing that is learned."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model_zoo.activation_segments import ActivationCheckpointing
from scaling.sweep.field_types import Quantity, Share, Whole
from scaling.sweep.science import Science
from scaling.sweep.sharding import EngineName, Offload, resolve_shard_ranks, resolve_zero_stage

LARGEST_MICRO_BATCH = 256
"""Samples per rank and forward when SuperClass may choose. Enough rows to fill a GPU's matrix units (256 x
197 tokens at 224 px), while activations stay bounded; accumulation is exact for SuperClass, so the choice
changes nothing that is learned. An assumption until runs are profiled."""

MOST_WORKERS = 16  # decoding processes per rank; more than 16 were never needed at 224 px (assumption)
RANKS_PER_NODE = 8  # accelerators of the usual node, when the caller does not say


PLACEMENT_AXES = frozenset(
    {"engine", "zero_stage", "shard_ranks", "offload", "compile", "activation_checkpointing", "micro_batch"}
)
"""The fields that a sweep may vary to compare speed, memory and losses; each value then has runs of its own."""


class _Choices(BaseModel):
    """The fields that sweep file and placement have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: EngineName = "deepspeed"
    offload: Offload = "none"
    overlap_communication: bool = True
    # of a gradient reduction: 200 MB of fp32; DeepSpeed's default is ten times as much
    bucket_elements: Annotated[Quantity, Field(gt=0)] = 50_000_000
    compile: bool = False
    activation_checkpointing: ActivationCheckpointing = "none"
    activation_checkpointing_every: Annotated[Whole, Field(gt=0)] = 1  # one block of this many recomputes
    head_recompute: bool = False  # recompute the classification head's logits in backward
    # bytes of the shards of remote sets that a machine may keep; 0 = no limit
    cache_limit_bytes: Annotated[Quantity, Field(ge=0)] = 0
    # images that do not decode: masked and counted, or an error
    bad_samples: Literal["skip", "fail"] = "skip"
    bad_samples_limit: Share = 0.05  # share of them at which a run stops (assumption)
    # every 6,104 steps of 16,384 in the recipe (opencls/configs/cls_schedule); 0 = only at the end
    checkpoint_every_samples: Annotated[Quantity, Field(ge=0)] = 100_000_000
    keep_checkpoints: Annotated[Whole, Field(gt=0)] = 2  # the latest, and those to fall back to
    keep_every_samples: Annotated[Quantity, Field(ge=0)] = 0  # checkpoints never deleted; 0 = none
    # hung after this many median steps without one (assumption)
    hang_factor: Annotated[Whole, Field(ge=2)] = 50
    # seconds to write a checkpoint when told to stop; DeepSpeed's launcher kills after 30
    grace_seconds: Annotated[Whole, Field(gt=0)] = 25


class PlacementSettings(_Choices):
    """What a sweep file may say about placement; None leaves the choice to `place`."""

    zero_stage: Annotated[Whole, Field(ge=0, le=3)] | None = None
    shard_ranks: Annotated[Whole, Field(gt=0)] | None = None
    micro_batch: Annotated[Quantity, Field(gt=0)] | None = None
    num_workers: Annotated[Whole, Field(ge=0)] | None = None


class Placement(_Choices):
    """Where and how one point runs, complete."""

    zero_stage: Annotated[int, Field(ge=0, le=3)]  # as scaling/sweep/sharding.py has them
    shard_ranks: Annotated[int, Field(gt=0)]  # ranks of a shard group
    num_ranks: Annotated[int, Field(gt=0)]
    micro_batch: Annotated[int, Field(gt=0)]  # samples per rank and forward
    num_workers: Annotated[int, Field(ge=0)]  # loading processes per rank


def place(
    science: Science, settings: PlacementSettings, *, num_ranks: int, ranks_per_node: int | None
) -> Placement:
    """The placement of one point over `num_ranks`; ValueError if the given batch cannot be split so."""
    per_rank = per_rank_batch(science.global_batch, num_ranks)
    workers = settings.num_workers
    if workers is None:
        workers = default_workers(ranks_per_node or min(num_ranks, RANKS_PER_NODE), usable_cpus())
    _check_reductions(settings)
    resolved = {
        "zero_stage": resolve_zero_stage(
            settings.engine,
            settings.zero_stage,
            offload=settings.offload,
            precision=science.precision,
            compiled=settings.compile,
        ),
        "shard_ranks": resolve_shard_ranks(settings.engine, settings.shard_ranks, num_ranks),
        "num_ranks": num_ranks,
        "micro_batch": _micro_batch(science, per_rank, settings.micro_batch),
        "num_workers": workers,
    }
    return Placement(**{**settings.model_dump(), **resolved})


def _check_reductions(settings: PlacementSettings) -> None:
    """ValueError for settings of DeepSpeed's reductions where another engine reduces, which has no such choice."""
    if settings.engine == "deepspeed":
        return
    for name in ("overlap_communication", "bucket_elements"):
        value = getattr(settings, name)
        if value != PlacementSettings.model_fields[name].default:
            raise ValueError(
                f"{name} ({value}) has no effect on engine {settings.engine}: leave it out, or use engine deepspeed."
            )


def per_rank_batch(global_batch: int, num_ranks: int) -> int:
    """Samples per rank and optimizer step; the batch is given and the ranks only split it."""
    per_rank, remainder = divmod(global_batch, num_ranks)
    if remainder or not per_rank:
        fewer, more = _nearest_divisors(global_batch, num_ranks)
        raise ValueError(
            f"global_batch ({global_batch:,}) does not divide over {num_ranks:,} ranks: use {fewer:,}"
            + (f" or {more:,} ranks" if more else " ranks")
            + ", or change global_batch (which changes what is learned)."
        )
    return per_rank


def _nearest_divisors(number: int, near: int) -> tuple[int, int | None]:
    """The largest divisor of `number` up to `near` and the smallest above it, if any."""
    fewer = max(one for one in divisors(number) if one <= near)
    more = min((one for one in divisors(number) if one > near), default=None)
    return fewer, more


@lru_cache(maxsize=512)
def divisors(number: int) -> tuple[int, ...]:
    """All divisors of a whole number above 0, ascending."""
    small = [one for one in range(1, math.isqrt(number) + 1) if number % one == 0]
    return tuple(sorted({*small, *(number // one for one in small)}))


def samples_per_group(science: Science) -> int:
    """Samples that stay together in any micro-batch: those over which a batch norm takes its statistics."""
    specification = science.specification
    has_groups = specification.image.has_batch_norm and not specification.kind.locks_image_tower
    return science.batch_norm_samples if has_groups else 1


def _micro_batch(science: Science, per_rank: int, asked: int | None) -> int:
    """Samples per rank and forward: as asked, else the largest that needs neither a second forward nor much memory.

    Where a sample's loss depends on its whole batch, fewer than a rank's share means a second forward
    (scaling/train/accumulation.py), so that has to be asked for.
    """
    specification, group = science.specification, samples_per_group(science)
    if per_rank % group:
        raise ValueError(
            f"batch_norm_samples ({group:,}) must divide the batch per rank ({per_rank:,}) of image_tower "
            f"{science.image_tower}: use fewer ranks, or change batch_norm_samples (which changes what is learned)."
        )
    if asked is None:
        limit = per_rank if specification.couples_samples else max(LARGEST_MICRO_BATCH, group)
        return group * _largest_divisor(per_rank // group, limit // group)
    if asked % group:
        raise ValueError(
            f"micro_batch ({asked:,}) must be a multiple of batch_norm_samples ({group:,}) for image_tower "
            f"{science.image_tower}: use {group * max(1, asked // group):,}, or leave it out."
        )
    if per_rank % asked:
        below, above = _nearest_divisors(per_rank, asked)
        nearest = f"{below:,} or {above:,}" if above else f"{below:,}"
        raise ValueError(
            f"micro_batch ({asked:,}) must divide the batch per rank ({per_rank:,}): use {nearest}, or leave "
            "it out."
        )
    return asked


def _largest_divisor(number: int, limit: int) -> int:
    return max(size for size in divisors(number) if size <= limit)


def default_workers(ranks_per_node: int, num_cpus: int) -> int:
    """Loading processes per rank: its share of the CPUs less one for itself, so 0 if there is a rank per CPU."""
    return max(0, min(MOST_WORKERS, num_cpus // ranks_per_node - 1))


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
