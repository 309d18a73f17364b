"""The embedded data set: captioned scenes rendered into MDS shards, offline, deterministic from (seed, index).

DST/train, DST/validation    captioned pictures; training never repeats a scene
DST/held_out                 pictures of combinations of attributes that the other splits never show
DST/word_order               pairs with a true caption and one of the same words in a false order ("foil")
DST/labelled                 a labelled set: colour x shape, for linear probe and zero-shot classification
DST/vocabularies             small vocabularies of every kind, and label counts (rendered_vocabularies.py)
DST/manifest.json            the settings that made it, and counts
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from scaling.data.rendering.drawing import draw_scene, encode_jpeg
from scaling.data.rendering.scene_captions import (
    PROMPT_TEMPLATES,
    caption_scene,
    class_name,
    word_order_captions,
)
from scaling.data.rendering.scenes import CLASSES, SPLITS, Split, sample_scene
from scaling.data.rendering.vocabularies import make_vocabularies
from scaling.data.shards import IMAGE_TEXT_COLUMNS, merge_indexes, shard_bytes, write_shards
from scaling.disk import sync_to_disk
from scaling.inputs.data_paths import LABELLED_TEXTS
from scaling.processes.orphans import end_with_parent
from scaling.records import write_atomically

SCENES_PER_PART = 4096
BYTES_PER_SCENE = 3000  # of a 64-pixel JPEG, caption included; only sizes the shards

FOLDERS: dict[Split, str] = {
    "train": "train",
    "validation": "validation",
    "held_out": "held_out",
    "word_order": "word_order",
    "labelled_train": "labelled/train",
    "labelled_test": "labelled/test",
}
EXTRA_COLUMNS: dict[Split, dict[str, str]] = {
    "word_order": {"foil": "str"},
    "labelled_train": {"label": "int32"},
    "labelled_test": {"label": "int32"},
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RenderSettings:
    """How many scenes of each split, and how they look."""

    train: int = 40_000
    validation: int = 1_024
    held_out: int = 1_024
    word_order: int = 512
    labelled_train: int = 4_096
    labelled_test: int = 2_048
    image_size: int = 64  # pixels per side
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value < (0 if field.name == "seed" else 1):
                raise ValueError(f"{field.name} ({value}) must be at least 1: every split needs scenes.")
        if self.image_size < 16:
            raise ValueError(
                f"image_size ({self.image_size}) must be at least 16 pixels: shapes vanish below."
            )


class DifferentSettings(ValueError):
    """The folder holds another rendering."""


def render(destination: Path, settings: RenderSettings, *, workers: int, progress: bool = True) -> bool:
    """Render every split below `destination` and make its vocabularies; False if all that is already there.

    A killed rendering continues where it stopped: finished parts are kept. Raises DifferentSettings when the
    folder was rendered with other settings, OSError when it cannot be written.
    """
    destination.mkdir(parents=True, exist_ok=True)
    is_new = not _is_finished(destination, settings)
    if is_new:
        _render_splits(destination, settings, workers=workers, progress=progress)
    return make_vocabularies(destination) or is_new


def _render_splits(destination: Path, settings: RenderSettings, *, workers: int, progress: bool) -> None:
    write_atomically(destination / "settings.json", json.dumps(dataclasses.asdict(settings), indent=1))
    jobs = [
        (destination, settings, split, part)
        for split in SPLITS
        for part in range(-(-getattr(settings, split) // SCENES_PER_PART))
    ]
    with ProcessPoolExecutor(max_workers=workers, initializer=end_with_parent) as pool:
        finished = pool.map(_render_part, *zip(*jobs, strict=True))
        for _ in track(finished, "rendering", total=len(jobs), disable=not progress):
            pass
    for split in SPLITS:
        folder = destination / FOLDERS[split]
        merge_indexes(folder, sorted(folder.glob("part-?????")))
    _write_texts(destination / "labelled")
    manifest = {"settings": dataclasses.asdict(settings), "splits": {s: getattr(settings, s) for s in SPLITS}}
    write_atomically(destination / "manifest.json", json.dumps(manifest, indent=1))


def _is_finished(destination: Path, settings: RenderSettings) -> bool:
    wanted = dataclasses.asdict(settings)
    note = destination / "settings.json"
    if not note.exists():
        if any(destination.iterdir()):
            raise DifferentSettings(f"{destination} holds other files: render into a new or empty folder.")
        return False
    found = json.loads(note.read_text())
    if found != wanted:
        told = ", ".join(
            f"{key}: {found.get(key)} there, {wanted[key]} asked"
            for key in wanted
            if found.get(key) != wanted[key]
        )
        raise DifferentSettings(
            f"{destination} was rendered with other settings ({told}): choose another folder."
        )
    return (destination / "manifest.json").exists()


def _render_part(destination: Path, settings: RenderSettings, split: Split, part: int) -> None:
    whole = destination / FOLDERS[split] / f"part-{part:05d}"
    if whole.exists():
        return
    aside = whole.with_suffix(".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    first = part * SCENES_PER_PART
    indices = range(first, min(first + SCENES_PER_PART, getattr(settings, split)))
    columns = {**IMAGE_TEXT_COLUMNS, **EXTRA_COLUMNS.get(split, {})}
    size_limit = shard_bytes(getattr(settings, split) * BYTES_PER_SCENE)
    write_shards(aside, columns, _samples(settings, split, indices), size_limit=size_limit)
    sync_to_disk(aside)
    os.replace(aside, whole)


def _samples(settings: RenderSettings, split: Split, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
    for index in indices:
        yield rendered_sample(settings.seed, split, index, settings.image_size)


def rendered_sample(seed: int, split: Split, index: int, image_size: int) -> dict[str, Any]:
    """One sample as stored: jpg, caption, key, and the split's extra column."""
    scene = sample_scene(seed, split, index)
    wording = np.random.default_rng([seed, SPLITS.index(split), index, 1])
    sample: dict[str, Any] = {
        "jpg": encode_jpeg(draw_scene(scene, image_size)),
        "caption": caption_scene(scene, wording),
        "key": f"{split}-{index:09d}",
    }
    if split == "word_order":
        sample["caption"], sample["foil"] = word_order_captions(scene, wording)
    elif split in ("labelled_train", "labelled_test"):
        sample["label"] = np.int32(scene.label)
    return sample


def _write_texts(folder: Path) -> None:
    names, templates = LABELLED_TEXTS
    write_atomically(folder / names, "".join(f"{class_name(*one)}\n" for one in CLASSES))
    write_atomically(folder / templates, "".join(f"{template}\n" for template in PROMPT_TEMPLATES))
