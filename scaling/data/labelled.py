"""A labelled set: images with one class each, for linear probes and zero-shot classification.

    DIR/train, DIR/test                         MDS folders: jpg, caption, key and label (int32)
    DIR/classnames.txt                          one class name a line, in the order of the labels
    DIR/zeroshot_classification_templates.txt   one prompt a line, {c} standing for the class name

The two texts have the names and layout of CLIP_benchmark.  image_folder.py reads class folders of image files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scaling.data.indexed import IndexedDataset, IndexedSamples
from scaling.inputs.data_paths import HOW_TO_MAKE_DATA, LABELLED_PARTS, LABELLED_TEXTS

CLASS_NAMES, TEMPLATES = LABELLED_TEXTS
TRAIN, TEST = LABELLED_PARTS
SLOT = "{c}"  # where a template takes the class name


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LabelledSet:
    """Training and test images; a label is an index into `class_names`."""

    train: IndexedSamples
    test: IndexedSamples
    class_names: tuple[str, ...]
    templates: tuple[str, ...]

    def prompts(self, class_name: str) -> list[str]:
        """The class name in every template."""
        return [template.replace(SLOT, class_name) for template in self.templates]

    def labels(self, samples: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.int64]:
        """The label of each stored sample, int64; ValueError naming one that has no class."""
        for sample in samples:
            if not 0 <= sample["label"] < len(self.class_names):
                raise ValueError(
                    f"{self.train.folder.parent}: sample {sample['key']!r} has the label {sample['label']}, "
                    f"but {CLASS_NAMES} names {len(self.class_names)} classes: labels count its lines from 0."
                )
        return np.array([sample["label"] for sample in samples], dtype=np.int64)


def read_labelled_set(folder: Path) -> LabelledSet:
    """The labelled set in `folder`.  Raises ValueError naming the file that is missing or wrong."""
    templates = _read_lines(folder / TEMPLATES)
    check_templates(templates, folder / TEMPLATES)
    return LabelledSet(
        train=IndexedDataset(folder / TRAIN),
        test=IndexedDataset(folder / TEST),
        class_names=_read_lines(folder / CLASS_NAMES),
        templates=templates,
    )


def check_templates(templates: Sequence[str], path: Path) -> None:
    """ValueError naming the file `path` for a prompt that has no place for the class name."""
    without_slot = [template for template in templates if SLOT not in template]
    if without_slot:
        raise ValueError(
            f"{path}: {without_slot[0]!r} has no {SLOT} where the class name would go: write it there."
        )


def _read_lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {path.parent} is not a labelled set. {HOW_TO_MAKE_DATA}")
    lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    if not lines or not all(lines):
        raise ValueError(f"{path} must hold one entry a line, at least one and none empty.")
    return lines
