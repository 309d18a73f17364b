"""Converts one group of a source into one folder of shards: written aside, synced to disk, renamed when complete."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from scaling.data.conversion.image_checks import RejectedImage, checked_image
from scaling.data.conversion.settings import ConversionSettings
from scaling.data.manifest import Part, read_part, sum_rejects
from scaling.data.progress import bar
from scaling.data.samples import Group, Opened, Sample
from scaling.data.shards import IMAGE_TEXT_COLUMNS, write_shards
from scaling.data.worker_pool import worker_pool
from scaling.disk import sync_to_disk
from scaling.records import WriteError, write_atomically

Job = TypeVar("Job")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PartJob:
    """One group to convert."""

    group: Group
    folder: Path
    size_limit: int  # of a shard, bytes
    decode_every: int
    settings: ConversionSettings


def is_finished(job: PartJob) -> bool:
    """Whether an earlier attempt converted this group; ValueError if the folder holds another group or settings."""
    if not job.folder.exists():
        return False
    part = read_part(job.folder)
    if part.source != job.group.name or job.group.num_bytes not in (None, part.source_bytes):
        size = "" if job.group.num_bytes is None else f" ({job.group.num_bytes:,} bytes)"
        raise ValueError(
            f"{job.folder} was made from {part.source} ({part.source_bytes:,} bytes) and not from "
            f"{job.group.name}{size}: the source has changed, convert it to an empty folder."
        )
    if part.settings != job.settings:
        found, asked = part.settings.model_dump(), job.settings.model_dump()
        told = "; ".join(
            f"{key}: {found[key]} there, {asked[key]} asked" for key in asked if found[key] != asked[key]
        )
        raise ValueError(f"{job.folder} was made with other settings ({told}): convert to an empty folder.")
    return True


def run_jobs(work: Callable[[Job], Part], jobs: Sequence[Job], *, workers: int, progress: bool) -> None:
    """Do all jobs in `workers` processes, with a progress bar."""
    with bar("parts", enabled=progress and bool(jobs)) as shown:
        task = shown.add_task("", total=len(jobs), samples=0)
        num_samples = 0
        for part in _finished(work, jobs, min(workers, len(jobs))):
            num_samples += part.num_samples + sum(part.rejects.values())
            shown.update(task, advance=1, samples=num_samples)


def _finished(work: Callable[[Job], Part], jobs: Sequence[Job], workers: int) -> Iterator[Part]:
    """Every part, as it is finished."""
    if workers <= 1:
        yield from map(work, jobs)
        return
    with worker_pool(workers, preload=__name__) as pool:
        yield from (future.result() for future in as_completed([pool.submit(work, job) for job in jobs]))


def write_part(job: PartJob) -> Part:
    """Convert one group into `job.folder`; returns how many samples it gave and left out."""
    scratch = job.folder.with_name(f".{job.folder.name}.tmp")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        with job.group.open(scratch) as opened:
            return place_part(job.folder, job.group.name, lambda aside: _write_samples(job, opened, aside))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def place_part(folder: Path, source: str, write: Callable[[Path], Part]) -> Part:
    """Have `write` fill a temporary folder and rename it to `folder`; WriteError if the disk refuses."""
    aside = folder.with_suffix(".tmp")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        part = write(aside)
        write_atomically(aside / "part.json", part.model_dump_json(indent=1))
        sync_to_disk(aside)
        aside.rename(folder)
    except OSError as error:
        raise WriteError(
            f"{source} -> {folder}: stopped ({error.strerror or error}). Run the same command to continue."
        ) from error
    return part


def _write_samples(job: PartJob, opened: Opened, aside: Path) -> Part:
    columns = dict(IMAGE_TEXT_COLUMNS)
    if opened.has_several_captions:
        columns["captions"] = "json"
    if opened.has_labels:
        columns["label"] = "int32"
    num_samples = write_shards(
        aside,
        columns,
        (_row(sample, columns) for sample in _kept(job, opened)),
        size_limit=job.size_limit,
        hashes=job.settings.hashes,
        compression=job.settings.compression,
    )
    return Part(
        source=job.group.name,
        source_bytes=opened.readings.num_bytes,
        source_sha256=opened.readings.sha256,
        num_samples=num_samples,
        rejects=sum_rejects([opened.readings.rejects]),
        settings=job.settings,
    )


def _kept(job: PartJob, opened: Opened) -> Iterator[Sample]:
    """The samples whose images can be used; the others are counted."""
    for number, sample in enumerate(opened.samples):
        try:
            image = checked_image(sample.image, job.settings, fully=number % job.decode_every == 0)
        except RejectedImage as rejected:
            opened.readings.rejects[str(rejected)] += 1
            continue
        yield sample if image is sample.image else dataclasses.replace(sample, image=image)


def _row(sample: Sample, columns: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "jpg": sample.image,
        "caption": sample.captions[0],
        "key": sample.key.encode("utf-8", "backslashreplace").decode("utf-8"),  # file names need not be UTF-8
    }
    if "captions" in columns:
        row["captions"] = list(sample.captions)
    if "label" in columns:
        assert sample.label is not None
        row["label"] = np.int32(sample.label)
    return row
