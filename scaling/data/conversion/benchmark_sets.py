"""Recipes for Oxford-IIIT Pets, Stanford Cars, CIFAR-10 and COCO captions, from the files their owners publish."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from scaling.data.conversion.captioned_members import main_first, stripped
from scaling.data.conversion.labelled_sources import Classes, LabelledSource, read_lines
from scaling.data.conversion.listed_files import ListedImage, listed_groups
from scaling.data.conversion.prompt_templates import CARS, CIFAR10, PAPER, PETS
from scaling.data.labelled import TEST, TRAIN
from scaling.data.samples import Group, Opened, Readings, Sample, hashed

KARPATHY = "dataset_coco.json"
KARPATHY_SETS = {"train": "train", "restval": "train", "val": "validation", "test": "test"}
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_SIDE = 32  # pixels


def pets(root: Path) -> LabelledSource:
    """Oxford-IIIT Pets: images/*.jpg and annotations/{trainval,test}.txt; names from the files' names."""
    rows = {
        made: [
            line.split()
            for line in read_lines(_there(root / "annotations" / f"{name}.txt"))
            if line[0] != "#"
        ]
        for made, name in ((TRAIN, "trainval"), (TEST, "test"))
    }
    by_label = {int(row[1]) - 1: row[0].rpartition("_")[0].replace("_", " ") for row in rows[TRAIN]}
    names = tuple(by_label[label] for label in range(len(by_label)))
    listed = {
        made: [(f"images/{row[0]}.jpg", int(row[1]) - 1) for row in some] for made, some in rows.items()
    }
    return _listed_source(root, listed, names, "names of the image files", PETS)


def cars(root: Path) -> LabelledSource:
    """Stanford Cars: cars_train/, cars_test/ and the annotations of the development kit, with test labels."""
    meta = _matlab(_found(root, "cars_meta.mat"), "class_names")
    names = tuple(str(name) for name in np.atleast_1d(meta))
    files = {
        TRAIN: ("cars_train", "cars_train_annos.mat"),
        TEST: ("cars_test", "cars_test_annos_withlabels.mat"),
    }
    listed = {}
    for made, (folder, file) in files.items():
        rows = np.atleast_1d(_matlab(_found(root, file), "annotations"))
        listed[made] = [(f"{folder}/{row['fname']}", int(row["class"]) - 1) for row in rows]
    return _listed_source(root, listed, names, "cars_meta.mat", CARS)


def _listed_source(
    root: Path,
    listed: dict[str, list[tuple[str, int]]],
    names: tuple[str, ...],
    names_from: str,
    templates: tuple[str, ...],
) -> LabelledSource:
    """A labelled set of files, each with its label."""
    groups: dict[str, list[Group]] = {}
    for made, files in listed.items():
        images = [
            ListedImage(key=path.rpartition(".")[0], path=path, captions=(names[label],), label=label)
            for path, label in files
        ]
        groups[made] = [*listed_groups(made, root, images)]
    classes = Classes(names=names, names_from=names_from, templates=templates, templates_from=PAPER)
    return LabelledSource(groups=groups, classes=classes)


def cifar10(root: Path) -> LabelledSource:
    """CIFAR-10's Python version: pickles of pixels, which become PNG files."""
    folder = root / CIFAR_FOLDER if (root / CIFAR_FOLDER).is_dir() else root
    meta = _unpickled(_there(folder / "batches.meta"))
    names = tuple(name.decode() for name in meta[b"label_names"])
    files = {TRAIN: [f"data_batch_{number}" for number in range(1, 6)], TEST: ["test_batch"]}
    groups: dict[str, list[Group]] = {
        made: [
            CifarGroup(path=path, name=name, names=names, num_bytes=path.stat().st_size)
            for name in some
            for path in [_there(folder / name)]
        ]
        for made, some in files.items()
    }
    classes = Classes(names=names, names_from="batches.meta", templates=CIFAR10, templates_from=PAPER)
    return LabelledSource(groups=groups, classes=classes)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CifarGroup:
    """One batch file: 10,000 pictures of 32 x 32 pixels."""

    path: Path
    name: str
    names: tuple[str, ...]  # of all classes
    num_bytes: int | None

    @property
    def content_bytes(self) -> int | None:
        return self.num_bytes

    @contextlib.contextmanager
    def open(self, scratch: Path) -> Iterator[Opened]:
        """The pictures in the order of the file."""
        readings = Readings(num_bytes=self.num_bytes or 0)
        yield Opened(samples=hashed(self._samples(), readings), readings=readings, has_labels=True)

    def _samples(self) -> Iterator[Sample]:
        batch = _unpickled(self.path)
        pixels_NHWC = batch[b"data"].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).transpose(0, 2, 3, 1)
        for name, label, pixels_HWC in zip(batch[b"filenames"], batch[b"labels"], pixels_NHWC, strict=True):
            stream = io.BytesIO()
            Image.fromarray(pixels_HWC).save(stream, "PNG")
            key = name.decode().rpartition(".")[0]
            yield Sample(key=key, image=stream.getvalue(), captions=(self.names[label],), label=int(label))


def coco(root: Path) -> dict[str, list[Group]]:
    """COCO captions by Karpathy's split (dataset_coco.json): train with restval, validation, test."""
    images: dict[str, list[ListedImage]] = {made: [] for made in KARPATHY_SETS.values()}
    for image in json.loads(_there(root / KARPATHY).read_text(encoding="utf-8"))["images"]:
        captions = main_first([stripped(sentence["raw"]) for sentence in image["sentences"]])
        path = f"{image['filepath']}/{image['filename']}"
        images[KARPATHY_SETS[image["split"]]].append(
            ListedImage(key=path.rpartition(".")[0], path=path, captions=captions)
        )
    return {made: [*listed_groups(made, root, some)] for made, some in images.items() if some}


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path} does not exist: the recipe needs the files as their owners publish them.")
    return path


def _found(root: Path, name: str) -> Path:
    return next(
        (path for below in (".", "devkit") if (path := root / below / name).is_file()), None
    ) or _there(root / "devkit" / name)


def _matlab(path: Path, variable: str) -> Any:
    from scipy.io import loadmat

    return loadmat(path, squeeze_me=True)[variable]


_PARTS_OF_ARRAYS = {
    ("numpy", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    """Reads numpy arrays and plain values, and calls nothing else that a pickle asks for."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.partition(".")[0], name) not in _PARTS_OF_ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return super().find_class(module, name)


def _unpickled(path: Path) -> dict[bytes, Any]:
    def load(stream: BinaryIO) -> Any:
        return _ArraysOnly(stream, encoding="bytes").load()

    try:
        with open(path, "rb") as stream:
            return dict(load(stream))
    except (OSError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path} is not a batch of CIFAR-10's Python version ({error}): download and unpack it again."
        ) from error
