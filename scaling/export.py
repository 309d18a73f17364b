"""A run, finished or not, as a folder that timm, open_clip or transformers loads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model_zoo.export import export
from model_zoo.exported_files import PixelStatistics
from scaling.checkpoints.contents import DamagedCheckpoint, UnreadableCheckpoint
from scaling.checkpoints.names import folder_name, steps_in
from scaling.checkpoints.reading import consolidate
from scaling.data.images.augmentation import PIXEL_STATISTICS
from scaling.points import RunPoint
from scaling.records import RunDirectory


def export_run(run: Path, output: Path, *, format: str, checkpoint: int | None = None) -> None:
    """Write the weights of the run folder `run` to `output`: the trained ones, or those of the checkpoint of a step.

    Needs neither a process group nor a GPU. ValueError for a run or step that has none to give.
    """
    directory = RunDirectory(run)
    point = _read_point(directory)
    science = point.science
    pixels = PIXEL_STATISTICS[science.pixel_statistics]
    export(
        science.specification,
        _read_weights(directory) if checkpoint is None else _read_checkpoint(directory, checkpoint),
        output,
        format=format,
        pixels=PixelStatistics(mean=pixels.mean, std=pixels.deviation),
        origin={
            "run_id": point.run_id,
            "sweep": point.sweep,
            "tokenizer": science.tokenizer,
            "specification": dataclasses.asdict(science.specification),
        },
    )


def _read_point(directory: RunDirectory) -> RunPoint:
    if not directory.point.exists():
        raise ValueError(
            f"{directory.path} is no run: it has no {directory.point.name}. Give the folder of one run, "
            "runs/SWEEP/RUN_ID."
        )
    return RunPoint.model_validate_json(directory.point.read_text())


def _read_weights(directory: RunDirectory) -> dict[str, Tensor]:
    if not directory.weights.exists():
        raise ValueError(
            f"{directory.path} is {directory.read_status().state}, not finished: it has no {directory.weights.name}, "
            "which training writes at its end. Launch its sweep again, or give --checkpoint STEP "
            f"({_told_steps(directory)})."
        )
    try:
        return load_file(directory.weights)
    except SafetensorError as error:
        raise ValueError(f"{directory.weights} is damaged ({error}): launch its sweep again.") from error


def _read_checkpoint(directory: RunDirectory, step: int) -> dict[str, Tensor]:
    if step not in steps_in(directory.checkpoints):
        raise ValueError(
            f"{directory.path} has no checkpoint of step {step:,} ({_told_steps(directory)}): choose one of those."
        )
    try:
        return consolidate(directory.checkpoints / folder_name(step))
    except (DamagedCheckpoint, UnreadableCheckpoint) as error:
        raise ValueError(
            f"the checkpoint of step {step:,} of {directory.path} cannot be exported: {error}. "
            f"Try another step ({_told_steps(directory)})."
        ) from error


def _told_steps(directory: RunDirectory) -> str:
    steps = ", ".join(str(step) for step in steps_in(directory.checkpoints))
    return f"there are {steps}" if steps else "there is none"
