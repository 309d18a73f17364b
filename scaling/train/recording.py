"""The record of a finished run: what was asked, what it took, what it scored, on what machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from scaling.assignment import Assignment
from scaling.disk import sync_to_disk
from scaling.points import RunPoint
from scaling.records import DataCounts, Measured, PlannedCost, RunDirectory, RunRecord
from scaling.train.checkpoint import Progress


def make_record(
    point: RunPoint,
    assignment: Assignment,
    run: RunDirectory,
    progress: Progress,
    unique_samples: int,
    peak_memory: int,
) -> RunRecord:
    """The record of a point that was trained and evaluated."""
    samples_seen = progress.step * point.science.global_batch
    num_ranks = assignment.rank.num_ranks
    return RunRecord(
        sweep=point.sweep,
        run_id=point.run_id,
        science=point.science.model_dump(mode="json"),
        placement=point.placement.model_dump(mode="json"),
        data=DataCounts(
            unique_samples=unique_samples,
            epochs=samples_seen / unique_samples,
            undecodable_images=progress.undecodable_images,
            empty_captions=progress.empty_captions,
            rejects=progress.rejects,
        ),
        planned=PlannedCost.model_validate_json(assignment.planned),
        measured=Measured(
            samples_seen=samples_seen,
            steps=progress.step,
            num_ranks=num_ranks,
            train_seconds=progress.train_seconds,
            device_hours=progress.device_seconds / 3600,
            data_wait_seconds=progress.data_wait_seconds,
            samples_per_second=samples_seen / progress.train_seconds,
            peak_memory_bytes=peak_memory,
            attempts=assignment.attempt,
        ),
        final_loss=progress.last_loss,
        skipped_steps=progress.skipped_steps,
        evaluations=list(run.read_evaluations().values()),
        environment=_environment(),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def write_weights(run: RunDirectory, weights: Mapping[str, Tensor]) -> None:
    """Write the trained objective as one file, whole or not at all."""
    run.check_lease()
    aside = run.weights.with_suffix(".tmp")
    save_file({name: value.contiguous() for name, value in weights.items()}, aside)
    sync_to_disk(aside)
    os.replace(aside, run.weights)


def _environment() -> dict[str, str]:
    """What a reader needs to judge or repeat the run: code, libraries, machine."""
    libraries = ("torch", "deepspeed", "timm", "mosaicml-streaming", "transformers", "numpy")
    return {
        **{name: version(name) for name in libraries},
        "python": platform.python_version(),
        "commit": _commit(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "host": platform.node(),
    }


def _commit() -> str:
    """The commit this code was checked out from, with a mark if it was changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown: no git on this machine"
    return found.stdout.strip() if found.returncode == 0 else "unknown: not a git checkout"
