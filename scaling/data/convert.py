"""Webdataset tars (img2dataset, DataComp) -> MDS shards: in parallel, resumable, nothing left out unsaid.

One tar becomes one folder `part-00000`: written aside, synced to disk and renamed when whole, so that a
re-run continues where a killed one stopped.  The parts' indexes are then merged; `manifest.json` accounts for
every sample.
"""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scaling.data.manifest import Manifest, Part, SetManifest, read_part, sum_rejects
from scaling.data.shards import IMAGE_TEXT_COLUMNS, merge_indexes, shard_bytes, write_shards
from scaling.data.tars import Sample, TarSamples
from scaling.disk import sync_to_disk
from scaling.orphans import end_with_parent
from scaling.records import WriteError, write_atomically
from scaling.shard_index import read_shard_index

SETS = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
}  # folder of the source: of the result
SMALL_BYTES = 2**30  # a source up to this size has every image decoded
DECODE_EVERY = 16  # of a larger one, one image in so many: full decoding would take 90 % of the time
OWN_FILES = re.compile(r"part-\d{5,}(\.tmp)?|index\.json|manifest\.json|\.verified\.json|\..*\.tmp")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One tar to convert."""

    tar: Path
    source: str
    folder: Path
    size_limit: int  # of a shard, bytes
    decode_every: int


def convert_tars(source: Path, destination: Path, *, workers: int = 1, progress: bool = True) -> Manifest:
    """What was made of the tars below `source`, or of the tar `source`: MDS shards in `destination`.

    If `source` has folders train and val (or validation), they become `destination`/train and /validation.
    Raises ValueError for a source without tars or usable samples and for a destination that holds something
    else, WriteError when the destination cannot be written.
    """
    sets = {destination / name: tars for name, tars in _find_sets(source).items()}
    _prepare(destination, sets)
    jobs = {folder: _jobs(source, folder, tars) for folder, tars in sets.items()}
    pending = [job for found in jobs.values() for job in found if not _is_finished(job)]
    _run_jobs(pending, workers=workers, progress=progress)
    return Manifest(sets={folder: _finish_set(folder, found) for folder, found in jobs.items()})


def _find_sets(source: Path) -> dict[str, list[Path]]:
    """The tars of each set, by folder of the destination; "" is the destination itself."""
    if not source.exists():
        raise ValueError(f"{source} does not exist: give a folder of webdataset tars, or one tar.")
    if source.is_file():
        return {"": [source]}
    split = {name: SETS[name] for name in SETS if (source / name).is_dir()}
    if len(split) > len(set(split.values())):
        raise ValueError(f"{source} has both val and validation: keep one of them.")
    if split and any(source.glob("*.tar")):
        raise ValueError(
            f"{source} has tars beside {' and '.join(split)}: it is not clear to which set they belong."
        )
    folders = {made: source / name for name, made in split.items()} or {"": source}
    sets = {made: sorted(folder.rglob("*.tar")) for made, folder in folders.items()}
    empty = [folders[made] for made, tars in sets.items() if not tars]
    if empty:
        raise ValueError(
            f"{empty[0]} holds no .tar file: the source must be webdataset tars (img2dataset, DataComp), "
            "with members such as 000000.jpg, 000000.txt and 000000.json."
        )
    return sets


def _prepare(destination: Path, sets: Collection[Path]) -> None:
    """The folders exist, can be written and hold nothing but an earlier attempt of this conversion."""
    try:
        for folder in sets:
            _refuse_others(folder, OWN_FILES.fullmatch)
        if destination not in sets:
            _refuse_others(destination, {folder.name for folder in sets}.__contains__)
        for folder in sets:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise WriteError(f"{destination} cannot be written ({error.strerror}): choose another.") from error


def _refuse_others(folder: Path, is_own: Callable[[str], object]) -> None:
    others = (
        sorted(entry.name for entry in folder.iterdir() if not is_own(entry.name)) if folder.exists() else []
    )
    if others:
        raise ValueError(f"{folder} already holds {others[0]}: choose an empty folder for the data set.")


def _jobs(source: Path, folder: Path, tars: list[Path]) -> list[_Job]:
    num_bytes = sum(tar.stat().st_size for tar in tars)
    return [
        _Job(
            tar=tar,
            source=tar.relative_to(source).as_posix() if tar != source else tar.name,
            folder=folder / f"part-{number:05d}",
            size_limit=shard_bytes(num_bytes),
            decode_every=1 if num_bytes <= SMALL_BYTES else DECODE_EVERY,
        )
        for number, tar in enumerate(tars)
    ]


def _is_finished(job: _Job) -> bool:
    """Whether an earlier attempt has converted this tar; ValueError if another stands in its place."""
    if not job.folder.exists():
        return False
    part = read_part(job.folder)
    if (part.source, part.source_bytes) != (job.source, job.tar.stat().st_size):
        raise ValueError(
            f"{job.folder} was made from {part.source} ({part.source_bytes:,} bytes) and not from {job.tar}: "
            "the source has changed, convert it to an empty folder."
        )
    return True


def _run_jobs(jobs: list[_Job], *, workers: int, progress: bool) -> None:
    columns = TextColumn("tars"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not (progress and jobs)) as bar:
        task = bar.add_task("", total=len(jobs))
        for _ in _converted(jobs, min(workers, len(jobs))):
            bar.advance(task)


def _converted(jobs: list[_Job], workers: int) -> Iterator[Part]:
    """Every part, as it is finished."""
    if workers <= 1:
        yield from map(_write_part, jobs)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["streaming", __name__])  # 4 s of imports, once instead of once a worker
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        try:
            yield from (
                future.result() for future in as_completed([pool.submit(_write_part, job) for job in jobs])
            )
        finally:
            pool.shutdown(cancel_futures=True)


def _write_part(job: _Job) -> Part:
    """The account of one tar, whose samples are now in `job.folder`."""
    try:
        samples = TarSamples(job.tar, decode_every=job.decode_every)
        with open(job.tar, "rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{job.tar} cannot be read ({error.strerror or error}).") from error
    aside = job.folder.with_suffix(".tmp")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        rows, columns = map(_row, samples), IMAGE_TEXT_COLUMNS
        if samples.has_several_captions:
            rows, columns = map(_row_with_captions, samples), {**columns, "captions": "json"}
        num_samples = write_shards(aside, columns, rows, size_limit=job.size_limit)
        part = Part(
            source=job.source,
            source_bytes=job.tar.stat().st_size,
            source_sha256=sha256,
            num_samples=num_samples,
            rejects=sum_rejects([samples.rejects]),
        )
        write_atomically(aside / "part.json", part.model_dump_json(indent=1))
        sync_to_disk(aside)
        aside.rename(job.folder)
    except OSError as error:
        raise WriteError(
            f"{job.tar} -> {job.folder}: stopped ({error.strerror or error}). "
            "Run the same command to continue."
        ) from error
    return part


def _row(sample: Sample) -> dict[str, object]:
    return {"jpg": sample.image, "caption": sample.captions[0], "key": sample.key}


def _row_with_captions(sample: Sample) -> dict[str, object]:
    return {**_row(sample), "captions": list(sample.captions)}


def _finish_set(folder: Path, jobs: list[_Job]) -> SetManifest:
    """The manifest of a set whose parts are all there, written after its index."""
    parts = [read_part(job.folder) for job in jobs]
    rejects = sum_rejects(part.rejects for part in parts)
    if not any(part.num_samples for part in parts):
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in rejects.items()) or "no images at all"
        raise ValueError(f"{jobs[0].tar.parent}: not one usable image with a caption ({reasons}).")
    merge_indexes(folder, [job.folder for job in jobs])
    manifest = SetManifest(
        num_samples=sum(part.num_samples for part in parts),
        digest=read_shard_index(folder).digest,
        rejects=rejects,
        decode_every=jobs[0].decode_every,
        parts=parts,
    )
    write_atomically(folder / "manifest.json", manifest.model_dump_json(indent=1))
    return manifest
