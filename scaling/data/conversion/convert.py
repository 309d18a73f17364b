"""Converts image-caption data of any source into MDS shards: in parallel, resumable, every rejected sample counted.

A group of the source (a tar, ten thousand rows or files) becomes one folder `part-00000`, so that a re-run continues
where a killed one stopped.  The parts' indexes are then merged; `manifest.json` accounts for every sample.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from scaling.data.conversion.labelled_sources import Classes
from scaling.data.conversion.parts import PartJob, is_finished, run_jobs, write_part
from scaling.data.conversion.rows import Columns
from scaling.data.conversion.settings import ConversionSettings
from scaling.data.conversion.shuffled_sets import UNSHUFFLED, remove_unshuffled, shuffle_set
from scaling.data.conversion.sources import TRAINING_SETS, Source, find_source
from scaling.data.manifest import (
    LabelledManifest,
    Manifest,
    SetManifest,
    read_part,
    read_set_manifest,
    sum_rejects,
)
from scaling.data.samples import Group
from scaling.data.shards import LARGEST_SHARD_BYTES, merge_indexes, shard_bytes
from scaling.inputs.data_paths import LABELLED_TEXTS
from scaling.inputs.shard_index import read_shard_index
from scaling.records import WriteError, write_atomically

SMALL_BYTES = 2**30  # up to this size of a source every image is decoded
DECODE_EVERY = 16  # in a larger source one image in so many is: decoding all would take 90 % of the time
OWN_FILES = re.compile(r"part-\d{5,}(\.tmp)?|index\.json|manifest\.json|\.verified\.json|\..*\.tmp")


def convert(
    location: str,
    destination: Path,
    *,
    kind: str = "auto",
    columns: Columns = Columns(),
    settings: ConversionSettings = ConversionSettings(),
    workers: int = 1,
    progress: bool = True,
) -> Manifest:
    """Write MDS shards to `destination`, or to a folder in it for each set of the source; returns what was made.

    If a source of captions has folders train and val (or validation), they become `destination`/train and
    /validation; sources of classes become train and test.  Raises ValueError for a source without usable samples
    and for a destination that holds something else, WriteError when the destination cannot be written.
    """
    source = find_source(location, kind=kind, columns=columns)
    sets = {destination / name: groups for name, groups in source.sets.items()}
    chosen = {destination / name: _settings_of(name, source, settings) for name in source.sets}
    _prepare(destination, source)
    done = {folder: _shuffled_before(folder, groups, chosen[folder]) for folder, groups in sets.items()}
    jobs = {folder: _jobs(folder, sets[folder], chosen[folder]) for folder in sets if done[folder] is None}
    pending = [job for found in jobs.values() for job in found if not is_finished(job)]
    run_jobs(write_part, pending, workers=workers, progress=progress)
    for folder, found in jobs.items():
        parts = _ordered(folder, found, chosen[folder], location, workers=workers, progress=progress)
        done[folder] = _finish_set(folder, found, parts, source.kind, chosen[folder])
    manifest = Manifest(sets={folder: found for folder, found in done.items() if found is not None})
    if source.classes is not None:
        _write_classes(destination, source.kind, source.classes, manifest)
    return manifest


def _settings_of(name: str, source: Source, settings: ConversionSettings) -> ConversionSettings:
    """The settings of one set: only training sets are compressed or shuffled."""
    if source.classes is not None and settings.compression is not None:
        raise ValueError(
            f"--compression {settings.compression} with a {source.kind} source: evaluation reads uncompressed shards "
            "only, and JPEG files hardly shrink. Leave it out."
        )
    if name in TRAINING_SETS:
        return settings
    return settings.model_copy(update={"compression": None, "shuffle_seed": None})


def _prepare(destination: Path, source: Source) -> None:
    """Create the folders of all sets; raises unless they can be written and hold at most an earlier attempt."""
    folders = {destination / name for name in source.sets}
    try:
        for folder in folders:
            _refuse_others(folder, OWN_FILES.fullmatch)
        if destination not in folders:
            own = {*source.sets, *((*LABELLED_TEXTS, "manifest.json") if source.classes else ())}
            _refuse_others(destination, own.__contains__)
        for folder in folders:
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


def _shuffled_before(folder: Path, groups: list[Group], settings: ConversionSettings) -> SetManifest | None:
    """The manifest of a shuffled set that is finished already, None if it is not.

    Asked first, because a shuffled set's parts no longer belong to groups of the source, which `is_finished` compares.
    """
    manifest = read_set_manifest(folder) if settings.shuffle_seed is not None else None
    if manifest is None:
        return None
    is_same = len(manifest.parts) == len(groups) and all(
        part.source == group.name and group.num_bytes in (None, part.source_bytes)
        for part, group in zip(manifest.parts, groups)
    )
    if manifest.settings != settings or not is_same:
        raise ValueError(
            f"{folder} was made from another source or with other settings: convert to an empty folder."
        )
    remove_unshuffled(folder)
    return manifest


def _jobs(folder: Path, groups: list[Group], settings: ConversionSettings) -> list[PartJob]:
    sizes = [group.content_bytes for group in groups]
    num_bytes = None if None in sizes else sum(filter(None, sizes))
    is_shuffled = settings.shuffle_seed is not None
    return [
        PartJob(
            group=group,
            folder=(folder / UNSHUFFLED if is_shuffled else folder) / f"part-{number:05d}",
            size_limit=LARGEST_SHARD_BYTES if num_bytes is None else shard_bytes(num_bytes),
            decode_every=1 if num_bytes is not None and num_bytes <= SMALL_BYTES else DECODE_EVERY,
            settings=settings.uncompressed() if is_shuffled else settings,
        )
        for number, group in enumerate(groups)
    ]


def _ordered(
    folder: Path,
    jobs: list[PartJob],
    settings: ConversionSettings,
    location: str,
    *,
    workers: int,
    progress: bool,
) -> list[Path]:
    """The parts that make up the set, shuffled if that was asked for; ValueError if none holds a sample."""
    parts = [read_part(job.folder) for job in jobs]
    if not any(part.num_samples for part in parts):
        rejects = sum_rejects(part.rejects for part in parts)
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in rejects.items()) or "no images at all"
        raise ValueError(f"{location}: not one usable image with a caption ({reasons}).")
    folders = [job.folder for job in jobs]
    if settings.shuffle_seed is None:
        return folders
    size_limit = jobs[0].size_limit
    return shuffle_set(
        folder, folders, size_limit=size_limit, settings=settings, workers=workers, progress=progress
    )


def _finish_set(
    folder: Path, jobs: list[PartJob], parts: list[Path], kind: str, settings: ConversionSettings
) -> SetManifest:
    """Write the index and then the manifest of a set whose parts are finished; returns the manifest."""
    merge_indexes(folder, parts)
    sources = [read_part(job.folder) for job in jobs]
    manifest = SetManifest(
        kind=kind,
        num_samples=sum(part.num_samples for part in sources),
        digest=read_shard_index(folder).digest,
        rejects=sum_rejects(part.rejects for part in sources),
        decode_every=jobs[0].decode_every,
        settings=settings,
        parts=sources,
    )
    write_atomically(folder / "manifest.json", manifest.file_text())
    remove_unshuffled(folder)
    return manifest


def _write_classes(destination: Path, kind: str, classes: Classes, manifest: Manifest) -> None:
    """Write class names and templates of a labelled set, and a manifest that says where they come from."""
    for name, lines in zip(LABELLED_TEXTS, (classes.names, classes.templates), strict=True):
        write_atomically(destination / name, "".join(f"{line}\n" for line in lines))
    written = LabelledManifest(
        kind=kind,
        num_samples={folder.name: found.num_samples for folder, found in manifest.sets.items()},
        class_names=list(classes.names),
        class_names_from=classes.names_from,
        templates=list(classes.templates),
        templates_from=classes.templates_from,
    )
    write_atomically(destination / "manifest.json", written.model_dump_json(indent=1))
