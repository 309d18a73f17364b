"""Checks before any training starts: data large enough and intact, folders writable, the accelerator known."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scaling.data.image_folder import open_labelled_set
from scaling.data.manifest import read_set_manifest
from scaling.data.text.tokenizers import load_tokenizer
from scaling.data.verified_shards import preflight
from scaling.hardware import ACCELERATORS, Accelerator, accelerator, accelerator_for_device_name
from scaling.inputs.data_paths import LABELLED_PARTS, DataPaths, is_class_folders
from scaling.inputs.shard_index import read_shard_index
from scaling.points import RunPoint
from scaling.spec import SweepError
from scaling.sweep.field_types import FROM_TIMM


def check_data(points: Sequence[RunPoint], *, read_all: bool) -> None:
    """SweepError for data sets that do not suffice for the points; with `read_all`, shards are verified once."""
    for folder in dict.fromkeys(folder for point in points for folder in _folders(point.data)):
        preflight(folder, hashes=read_all)
    for choice in dict.fromkeys(point.tokenizer for point in points):
        load_tokenizer(choice)  # raises for a vocabulary of the Hub that is neither cached nor reachable
    labelled = (point.data.labelled for point in points if point.data.labelled is not None)
    for folder in dict.fromkeys(labelled):
        open_labelled_set(folder)
    read = functools.cache(read_shard_index)  # all points share an index, 155 MB at the paper's size
    for point in points:
        _check_sizes(point, point.data.train_samples, read(point.data.validation).num_samples)
    if read_all:
        for told in _unshuffled_sets(points):
            print(
                f"note: unique_samples takes the first shards of {told}, converted in the order of its source: "
                "they stand for the whole only if that order is random (else convert it with --shuffle-seed).",
                flush=True,
            )


def _unshuffled_sets(points: Sequence[RunPoint]) -> list[str]:
    """Training sets of which points use only the first shards, although they were not shuffled when converted."""
    sources = [source for point in points if point.science.unique_samples for source in point.data.train]
    manifests = {
        source.folder: read_set_manifest(source.folder) for source in sources if source.remote is None
    }
    return [str(folder) for folder, made in manifests.items() if made and made.settings.shuffle_seed is None]


def _folders(paths: DataPaths) -> list[Path]:
    training = [source.folder for source in paths.train if source.remote is None]
    labelled = paths.labelled
    shards = (
        [] if labelled is None or is_class_folders(labelled) else [labelled / part for part in LABELLED_PARTS]
    )
    return [*training, paths.validation, *shards]


def _names(paths: DataPaths) -> str:
    return ", ".join(source.remote or str(source.folder) for source in paths.train)


def _check_sizes(point: RunPoint, unique: int, held_out: int) -> None:
    if unique < point.science.global_batch:
        raise SweepError(
            f"data.train: {_names(point.data)} holds {unique:,} samples, fewer than global_batch "
            f"({point.science.global_batch:,}): a step would show a sample twice. Use more data or a smaller batch."
        )
    if point.science.specification.couples_samples and held_out < point.evaluation.batch:
        raise SweepError(
            f"data.validation: {point.data.validation} holds {held_out:,} samples, fewer than evaluate.batch "
            f"({point.evaluation.batch:,}), on which the held-out loss of this objective is defined: lower "
            "evaluate.batch."
        )


def fetch_image_weights(points: Sequence[RunPoint]) -> None:
    """Bring the pretrained towers that points start from into this machine's cache, once and not once a rank."""
    sources = dict.fromkeys(point.science.image_init for point in points)
    for source in (source for source in sources if source.startswith(FROM_TIMM)):
        from model_zoo.weight_files import (
            timm_pretrained,  # torch and timm, which a launcher does not need else
        )

        timm_pretrained(source.removeprefix(FROM_TIMM))


def check_output_folder(folder: Path) -> None:
    """Make the folder of a sweep's runs and see that files can be written there."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SweepError(
            f"{folder} cannot be written ({error.strerror or error}): choose another folder with --runs DIR."
        ) from error


def detect_accelerator(has_cuda: bool) -> str:
    """The name, in our table, of the device of this machine; SweepError for a GPU that is not in it."""
    if not has_cuda:
        return "cpu_core"
    # nvidia-smi rather than torch: asking torch would open a CUDA context in the parent process
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True)
    device_name = found.stdout.splitlines()[0].strip() if found.stdout.strip() else "unknown"
    name = accelerator_for_device_name(device_name)
    if name is None:
        raise SweepError(
            f"this machine's GPU ({device_name!r}) has no entry in scaling/hardware.py, so its cost cannot be planned: "
            f"name the nearest one with --accelerator. Known: {', '.join(ACCELERATORS)}."
        )
    return name


def device_here(name: str, ranks_per_node: int) -> Accelerator:
    """The named device; a CPU core gets its share of this machine's memory."""
    device = accelerator(name)
    if name != "cpu_core":
        return device
    machine_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return dataclasses.replace(device, memory_bytes=machine_bytes / ranks_per_node)
