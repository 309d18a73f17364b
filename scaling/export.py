"""A finished run as a folder that timm, open_clip or transformers loads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model_zoo.export import export
from model_zoo.exported_files import PixelStatistics
from scaling.data.images.augmentation import PIXEL_STATISTICS
from scaling.points import RunPoint
from scaling.records import RunDirectory


def export_run(run: Path, output: Path, *, format: str) -> None:
    """Write the weights of the run folder `run` to `output`; ValueError for one that has none to give."""
    directory = RunDirectory(run)
    point = _read_point(directory)
    science = point.science
    pixels = PIXEL_STATISTICS[science.pixel_statistics]
    export(
        science.specification,
        _read_weights(directory),
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
            "which training writes at its end. Launch its sweep again."
        )
    try:
        return load_file(directory.weights)
    except SafetensorError as error:
        raise ValueError(f"{directory.weights} is damaged ({error}): launch its sweep again.") from error
