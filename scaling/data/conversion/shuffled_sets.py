"""Puts a converted set in random order, so that its first shards are a random sample (see unique_samples).

The samples are first converted in the order of the source, into a folder aside; then every part of the result collects
its own samples from there.  That takes the space of the set twice while it runs, and 8 bytes of memory per sample for
the order (10 GB for 1.28B), which the processes share through a file.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scaling.data.conversion.parts import place_part, run_jobs
from scaling.data.conversion.settings import ConversionSettings
from scaling.data.indexed import last_opened
from scaling.data.manifest import Part, read_part
from scaling.data.shards import merge_indexes, write_shards

UNSHUFFLED = ".unshuffled.tmp"  # folder below the set's own
ORDER = "order.npy"
SAMPLES_PER_PART = 10_000  # as in a tar of img2dataset


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _ShuffleJob:
    """One part of the result: a range of positions in the new order."""

    folder: Path
    first: int
    last: int  # not included
    size_limit: int  # of a shard, bytes
    settings: ConversionSettings

    @property
    def name(self) -> str:
        return f"places {self.first} to {self.last} by seed {self.settings.shuffle_seed}"


def shuffle_set(
    folder: Path,
    parts: list[Path],
    *,
    size_limit: int,
    settings: ConversionSettings,
    workers: int,
    progress: bool,
) -> list[Path]:
    """Make the shuffled parts of `folder` from the converted `parts` in the folder aside; a re-run continues.

    The order is a function of the seed and the number of samples, for any number of workers.
    """
    merge_indexes(folder / UNSHUFFLED, parts)
    num_samples = len(last_opened(folder / UNSHUFFLED))
    assert settings.shuffle_seed is not None
    _keep_order(folder / UNSHUFFLED / ORDER, num_samples, settings.shuffle_seed)
    jobs = [
        _ShuffleJob(
            folder=folder / f"part-{number:05d}",
            first=first,
            last=min(first + SAMPLES_PER_PART, num_samples),
            size_limit=size_limit,
            settings=settings,
        )
        for number, first in enumerate(range(0, num_samples, SAMPLES_PER_PART))
    ]
    pending = [job for job in jobs if not _is_finished(job)]
    run_jobs(_write_shuffled, pending, workers=workers, progress=progress)
    return [job.folder for job in jobs]


def remove_unshuffled(folder: Path) -> None:
    shutil.rmtree(folder / UNSHUFFLED, ignore_errors=True)


def _keep_order(path: Path, num_samples: int, seed: int) -> None:
    """Write the order unless it is there already: an interrupted shuffle continues with the same."""
    if path.exists():
        return
    aside = path.with_suffix(".tmp.npy")
    np.save(aside, np.random.default_rng(seed).permutation(num_samples))
    os.replace(aside, path)


def _is_finished(job: _ShuffleJob) -> bool:
    if not job.folder.exists():
        return False
    part = read_part(job.folder)
    if (part.source, part.settings) != (job.name, job.settings):
        raise ValueError(f"{job.folder} holds {part.source} and not {job.name}: convert to an empty folder.")
    return True


def _write_shuffled(job: _ShuffleJob) -> Part:
    return place_part(job.folder, job.name, functools.partial(_write_rows, job))


def _write_rows(job: _ShuffleJob, aside: Path) -> Part:
    source = job.folder.parent / UNSHUFFLED
    columns = last_opened(source).columns
    num_samples = write_shards(
        aside,
        columns,
        _rows(job, source, columns),
        size_limit=job.size_limit,
        hashes=job.settings.hashes,
        compression=job.settings.compression,
    )
    return Part(
        source=job.name,
        source_bytes=0,
        source_sha256="",
        num_samples=num_samples,
        rejects={},
        settings=job.settings,
    )


def _rows(job: _ShuffleJob, source: Path, columns: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The samples at the job's positions; if any sample of the set has the column `captions`, all get it."""
    dataset = last_opened(source)
    order = np.load(source / ORDER, mmap_mode="r")
    for index in order[job.first : job.last]:
        sample = dataset[int(index)]
        yield {"captions": [sample["caption"]], **sample} if "captions" in columns else sample
