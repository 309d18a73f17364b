"""Remembers the micro-batches with which a point ran out of memory, so that they are not tried again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from scaling.placement import Placement, per_rank_batch, samples_per_group
from scaling.points import RunPoint
from scaling.records import write_atomically
from scaling.sweep.science import Science

FILE = "out_of_memory.json"  # in the run's folder: a list of what note_out_of_memory adds

MEMORY_FIELDS = (
    *("engine", "zero_stage", "shard_ranks", "offload", "bucket_elements", "compile", "num_ranks"),
    *("activation_checkpointing", "activation_checkpointing_every", "head_recompute"),
)
"""The fields of a placement that its memory depends on besides the micro-batch; failures count for equal ones only."""


def smaller_micro_batch(science: Science, num_ranks: int, micro_batch: int) -> int | None:
    """The largest micro-batch of at most half the size that splits a rank's batch; None if there is none.

    It changes how a step is computed, not what it computes: the batch stays, and so does the group of samples whose
    statistics a batch norm takes.
    """
    per_rank = per_rank_batch(science.global_batch, num_ranks)
    group = samples_per_group(science)
    sizes = range(micro_batch // 2 // group * group, 0, -group)
    return next((size for size in sizes if per_rank % size == 0), None)


def starting_micro_batch(run: Path, point: RunPoint) -> int:
    """The placement's micro-batch, or the first smaller one that has not run out of memory under such a placement.

    If all have, the smallest: whoever asks for another attempt may have made room.
    """
    failed = {
        entry["micro_batch"] for entry in _read(run) if entry["placement"] == _memory_fields(point.placement)
    }
    size = point.placement.micro_batch
    while failed and size >= min(failed):
        smaller = smaller_micro_batch(point.science, point.placement.num_ranks, size)
        if smaller is None:
            return size
        size = smaller
    return size


def note_out_of_memory(run: Path, point: RunPoint, micro_batch: int, facts: dict[str, Any]) -> None:
    """Remember that a micro-batch needed more memory than there was; `facts` as in records.Status."""
    entry = {
        "micro_batch": micro_batch,
        "num_ranks": point.placement.num_ranks,
        "peak_bytes": facts.get("peak_bytes", 0),
        "at": time.time(),
        "placement": _memory_fields(point.placement),
    }
    write_atomically(run / FILE, json.dumps([*_read(run), entry], indent=1))


def _read(run: Path) -> list[dict[str, Any]]:
    path = run / FILE
    entries: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return entries


def _memory_fields(placement: Placement) -> dict[str, Any]:
    return placement.model_dump(include=set(MEMORY_FIELDS))
