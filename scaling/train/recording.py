"""The record of a finished run: what was asked, what it took, what it scored, on what machine."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from datetime import UTC, datetime

from safetensors.torch import save_file
from torch import Tensor

from scaling.disk import sync_to_disk
from scaling.points import RunPoint
from scaling.processes.assignment import Assignment
from scaling.records import DataCounts, Measured, PlannedCost, RunDirectory, RunRecord, read_lines
from scaling.train.branching import BranchPoint, branch_point
from scaling.train.environment import environment
from scaling.train.memory_meter import peak_memory_source
from scaling.train.meters import Meters
from scaling.train.progress import Progress
from scaling.train.step_times import PERCENTILES


def make_record(
    point: RunPoint,
    assignment: Assignment,
    run: RunDirectory,
    progress: Progress,
    meters: Meters,
    *,
    unique_samples: int,
    peak_memory: int,  # bytes, of the rank that took most
) -> RunRecord:
    """The record of a point that was trained and evaluated."""
    samples_seen = progress.step * point.science.global_batch
    branch = branch_point(run)
    return RunRecord(
        sweep=point.sweep,
        run_id=point.run_id,
        science=point.science.model_dump(mode="json"),
        placement=point.placement.model_dump(mode="json"),
        trunk=point.trunk,
        branched_from=None if branch is None else branch.run_id,
        branched_at_samples=0 if branch is None else branch.step * point.science.global_batch,
        data=DataCounts(
            unique_samples=unique_samples,
            epochs=samples_seen / unique_samples,
            undecodable_images=progress.undecodable_images,
            empty_captions=progress.empty_captions,
            rejects=progress.rejects,
        ),
        planned=PlannedCost.model_validate_json(assignment.planned),
        measured=_measured(assignment, run, progress, meters, samples_seen, peak_memory, branch),
        final_loss=progress.last_loss,
        skipped_steps=progress.skipped_steps,
        skipped_batches=progress.skipped_batches,
        num_rollbacks=progress.num_rollbacks,
        warnings=progress.warnings,
        evaluations=list(run.read_evaluations().values()),
        environment=environment(),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _measured(
    assignment: Assignment,
    run: RunDirectory,
    progress: Progress,
    meters: Meters,
    samples_seen: int,
    peak_memory: int,
    branch: BranchPoint | None,
) -> Measured:
    memory = meters.memory()
    return Measured(
        samples_seen=samples_seen,
        steps=progress.step,
        num_ranks=assignment.rank.num_ranks,
        train_seconds=progress.train_seconds,
        device_hours=progress.device_seconds / 3600,
        inherited_device_hours=0.0 if branch is None else branch.device_seconds / 3600,
        data_wait_seconds=progress.data_wait_seconds,
        samples_per_second=samples_seen / progress.train_seconds,
        peak_memory_bytes=peak_memory,
        attempts=assignment.attempt,
        model_flops_utilisation=meters.utilisation(progress),
        peak_flops_per_second=meters.peak.flops_per_second,
        peak_flops_source=meters.peak.source,
        step_seconds=_typical_step_seconds(run),
        memory_bytes=memory.bytes_by_class(),
        memory_source=peak_memory_source(memory.device),
        data_bytes=progress.data_bytes or None,
        goodput=meters.goodput_seconds(),
    )


def _typical_step_seconds(run: RunDirectory) -> dict[str, float]:
    """The percentiles of step times, each as its median over the rows of metrics of all attempts; {} without any."""
    rows = list(read_lines(run.metrics))
    found = {f"p{p}": [row[key] for row in rows if (key := f"step_seconds_p{p}") in row] for p in PERCENTILES}
    return {name: statistics.median(seconds) for name, seconds in found.items() if seconds}


def write_weights(run: RunDirectory, weights: Mapping[str, Tensor]) -> None:
    """Write the trained objective as one file, whole or not at all."""
    run.check_lease()
    aside = run.weights.with_suffix(".tmp")
    save_file({name: value.contiguous() for name, value in weights.items()}, aside)
    sync_to_disk(aside)
    os.replace(aside, run.weights)
