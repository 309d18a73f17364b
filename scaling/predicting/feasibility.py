"""Chooses the placement of a point: the fastest that fits its devices.  No torch.

The global batch, the engine, the precision and all of the science stay as they are: what is chosen is the micro-batch,
the ZeRO stage (the stages 1 to 3 train alike) and what backward recomputes.  Values that the user wrote are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from model_zoo.activation_segments import ActivationCheckpointing
from scaling.hardware import Accelerator
from scaling.placement import (
    LARGEST_MICRO_BATCH,
    Placement,
    PlacementSettings,
    divisors,
    place,
    samples_per_group,
)
from scaling.predicting.memory import memory_of
from scaling.predicting.throughput import seconds_per_step
from scaling.predicting.workload import Workload, workload_of
from scaling.sweep.science import Science
from scaling.sweep.sharding import open_zero_stages

MARGIN = 0.08
"""Of the device's memory, left free: the driver's context, NCCL's and cuBLAS's buffers, which no allocator of torch
sees (1 to 3 GB on data-centre GPUs), and errors of the prediction. Assumption until records tell."""

RECOMPUTING: tuple[ActivationCheckpointing, ...] = ("none", "operations", "blocks")  # from fast to small
CHOSEN = ("micro_batch", "activation_checkpointing", "zero_stage")
"""The fields of a placement that are chosen where the user leaves them open."""


def solve(
    science: Science,
    settings: PlacementSettings,
    accelerator: Accelerator,
    num_ranks: int,
    *,
    ranks_per_node: int | None = None,
) -> Placement:
    """The placement of the highest predicted throughput that fits; ValueError, told by `why`, where none does.

    Of equally fast ones, that of the lowest ZeRO stage, which needs the fewest exchanges between ranks.
    """
    base = place(science, settings, num_ranks=num_ranks, ranks_per_node=ranks_per_node)
    found = fastest_that_fits(workload_of(science), base, accelerator, open_fields(settings))
    if found is None:
        raise ValueError(why(science, settings, accelerator, num_ranks))
    return found


def open_fields(settings: PlacementSettings) -> tuple[str, ...]:
    """The CHOSEN fields that the user left open."""
    return tuple(
        field
        for field in CHOSEN
        if field not in settings.model_fields_set or getattr(settings, field) is None
    )


@lru_cache(maxsize=1024)
def fastest_that_fits(
    workload: Workload, base: Placement, accelerator: Accelerator, fields: tuple[str, ...]
) -> Placement | None:
    """The fastest placement that fits, of all values of `fields` with the rest as in `base`; None if none fits."""
    candidates = fastest_first(workload, base, accelerator, fields)
    return next((one for one in candidates if fits(workload, one, accelerator)), None)


def fits(workload: Workload, placement: Placement, accelerator: Accelerator) -> bool:
    """Whether the predicted peak leaves the margin free."""
    return needed_bytes(workload, placement, accelerator) <= usable_bytes(accelerator)


def usable_bytes(accelerator: Accelerator) -> float:
    """The bytes of a device that a prediction may use: its memory less MARGIN."""
    return (1 - MARGIN) * accelerator.memory_bytes


def needed_bytes(workload: Workload, placement: Placement, accelerator: Accelerator) -> int:
    """The predicted peak of one device, with the allowance for fragmentation; of a CPU also what is offloaded to it."""
    memory = memory_of(workload, placement, on_accelerator=accelerator.is_apart)
    return memory.needed(on_accelerator=accelerator.is_apart)


def fastest_first(
    workload: Workload, base: Placement, accelerator: Accelerator, fields: Iterable[str]
) -> list[Placement]:
    """`base` with all values of `fields`, in the order in which they are preferred, fitting or not."""

    def cost(placement: Placement) -> tuple[float, int]:
        return seconds_per_step(workload, placement, accelerator), placement.zero_stage

    changes = _changes(workload, base, set(fields))
    return sorted((base.model_copy(update=change) for change in changes), key=cost)


def _changes(workload: Workload, base: Placement, fields: set[str]) -> Iterator[dict[str, Any]]:
    modes = RECOMPUTING if "activation_checkpointing" in fields else (base.activation_checkpointing,)
    stages = (
        open_zero_stages(base.engine, offload=base.offload, compiled=base.compile)
        if "zero_stage" in fields
        else [base.zero_stage]
    )
    sizes = _micro_batches(workload, base) if "micro_batch" in fields else [base.micro_batch]
    for mode in modes:
        for stage in stages:
            for size in sizes:
                yield {"activation_checkpointing": mode, "zero_stage": stage, "micro_batch": size}


def _micro_batches(workload: Workload, base: Placement) -> list[int]:
    """Divisors of a rank's share of the batch that keep batch-norm groups whole, up to LARGEST_MICRO_BATCH."""
    per_rank, group = workload.global_batch // base.num_ranks, samples_per_group(workload.science)
    most = per_rank if workload.specification.couples_samples else max(LARGEST_MICRO_BATCH, group)
    return [size for one in divisors(per_rank // group) if (size := group * one) <= most]


def why(science: Science, settings: PlacementSettings, accelerator: Accelerator, num_ranks: int) -> str:
    """A sentence: what the settings need and the device has, and the nearest placements that fit, with their sizes.

    One field is changed at a time, also one that the user wrote; several where one is not enough.
    """
    base = place(science, settings, num_ranks=num_ranks, ranks_per_node=None)
    workload, usable = workload_of(science), usable_bytes(accelerator)
    needed = needed_bytes(workload, base, accelerator)
    chosen = ", ".join(f"{field} {getattr(base, field)}" for field in CHOSEN)
    who = f"{science.objective} with {science.image_tower} at {chosen} on {num_ranks:,} ranks"
    if needed <= usable:
        return f"{who} fits {accelerator.name}: it needs {_gigabytes(needed)} of {_gigabytes(usable)}."
    return (
        f"{who} needs {_gigabytes(needed)} on {accelerator.name}, which has {_gigabytes(accelerator.memory_bytes)}, "
        f"{MARGIN:.0%} of them kept free: {_advice(workload, base, accelerator)}."
    )


def _advice(workload: Workload, base: Placement, accelerator: Accelerator) -> str:
    def told(placement: Placement, fields: Iterable[str]) -> str:
        changes = " with ".join(f"{field} {getattr(placement, field)}" for field in fields)
        return f"{changes} ({_gigabytes(needed_bytes(workload, placement, accelerator))})"

    by_field = {field: fastest_that_fits(workload, base, accelerator, (field,)) for field in CHOSEN}
    single = [told(placement, [field]) for field, placement in by_field.items() if placement is not None]
    if single:
        return "use " + " or ".join(single)
    together = fastest_that_fits(workload, base, accelerator, CHOSEN)
    if together is not None:
        changed = [field for field in CHOSEN if getattr(together, field) != getattr(base, field)]
        return "use " + told(together, changed)
    candidates = fastest_first(workload, base, accelerator, CHOSEN)
    smallest = min(candidates, key=lambda one: needed_bytes(workload, one, accelerator))
    return f"the least is {told(smallest, CHOSEN)}; use more ranks, offload, or devices with more memory"


def _gigabytes(size: float) -> str:
    """Decimal, as data sheets count memory, with three significant digits: 41231686041 -> "41.2 GB"."""
    return f"{float(f'{size / 1e9:.3g}'):g} GB"
