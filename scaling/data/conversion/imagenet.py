"""The recipe for ImageNet-1k: ILSVRC2012 as its owners publish it, tars or folders.

    ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar      or train/nXXXXXXXX/*.JPEG, val/*.JPEG, val/nXXXXXXXX/*.JPEG
    LOC_val_solution.csv                                  or the development kit: data/meta.mat and
                                                          data/ILSVRC2012_validation_ground_truth.txt

Labels count the synsets in alphabetical order, as open_clip's class names do; the ids of the development kit
count otherwise.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from scaling.data.conversion.labelled_sources import (
    Classes,
    LabelledSource,
    class_names,
    folder_groups,
    is_image,
    read_lines,
)
from scaling.data.conversion.labelled_tars import ClassTar, ClassTarsGroup, NamedImagesGroup, inner_tars
from scaling.data.conversion.listed_files import FILES_PER_GROUP, ListedImage, listed_groups
from scaling.data.conversion.prompt_templates import imagenet_names_and_templates
from scaling.data.labelled import TEST, TRAIN
from scaling.data.samples import Group

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
GROUND_TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
SOLUTION = "LOC_val_solution.csv"
IMAGES_BELOW = (".", "ILSVRC/Data/CLS-LOC")  # the second is Kaggle's
KIT_BELOW = (".", "data", "ILSVRC2012_devkit_t12/data")
CLASSES_PER_GROUP = 8  # of about 1,300 images each
KEY = "ILSVRC2012_val_{number:08d}"


def imagenet(root: Path) -> LabelledSource:
    """The 1,000 classes with CLIP's names and prompts; ValueError naming the file that is missing or wrong."""
    names, templates = imagenet_names_and_templates()
    train_tar = root / TRAIN_TAR
    tars = inner_tars(train_tar) if train_tar.is_file() else {}
    images = _images_folder(root)
    synsets = sorted(tars) or class_names(images / TRAIN)
    if len(synsets) != len(names):
        raise ValueError(
            f"{root}: {len(synsets)} synsets in {TRAIN_TAR} or {TRAIN}/, ImageNet-1k has {len(names)}. For a part of "
            "it use --kind classes, which names classes by their folders."
        )
    train: list[Group] = (
        [*_train_groups(train_tar, synsets, tars, names)]
        if tars
        else [*folder_groups(images, TRAIN, synsets, names)]
    )
    source = "open_clip's IMAGENET_CLASSNAMES", "open_clip's OPENAI_IMAGENET_TEMPLATES"
    return LabelledSource(
        groups={TRAIN: train, TEST: _val_groups(root, synsets, names)},
        classes=Classes(names=names, names_from=source[0], templates=templates, templates_from=source[1]),
    )


def _images_folder(root: Path) -> Path:
    return next((root / below for below in IMAGES_BELOW if (root / below / TRAIN).is_dir()), root)


def _train_groups(
    path: Path, synsets: list[str], tars: dict[str, tuple[int, int]], names: tuple[str, ...]
) -> Iterator[Group]:
    classes = [
        ClassTar(start=tars[synset][0], end=tars[synset][1], label=label, class_name=names[label])
        for label, synset in enumerate(synsets)
    ]
    for start in range(0, len(classes), CLASSES_PER_GROUP):
        some = tuple(classes[start : start + CLASSES_PER_GROUP])
        num_bytes = sum(tar.end - tar.start for tar in some)
        name = f"{path.name}[{synsets[start]}:{synsets[start + len(some) - 1]}]"
        yield ClassTarsGroup(path=path, name=name, tars=some, num_bytes=num_bytes)


def _val_groups(root: Path, synsets: list[str], names: tuple[str, ...]) -> list[Group]:
    tar, folder = root / VAL_TAR, _images_folder(root) / "val"
    if not tar.is_file() and class_names(folder):
        return [*folder_groups(folder.parent, "val", synsets, names)]
    labels = _val_labels(root, {synset: label for label, synset in enumerate(synsets)})
    keys = sorted(labels)
    if not tar.is_file():
        if not folder.is_dir() or not any(map(is_image, folder.iterdir())):
            raise ValueError(f"{root} has neither {VAL_TAR} nor val/*.JPEG: put one of them there.")
        images = [
            ListedImage(key=key, path=f"val/{key}.JPEG", captions=(names[labels[key]],), label=labels[key])
            for key in keys
        ]
        return [*listed_groups("val", folder.parent, images)]
    return [
        NamedImagesGroup(
            path=tar,
            name=f"{VAL_TAR}[{start}:{start + len(some)}]",
            labels={key: labels[key] for key in some},
            names=names,
            num_bytes=tar.stat().st_size * len(some) // len(keys),
        )
        for start in range(0, len(keys), FILES_PER_GROUP)
        for some in [keys[start : start + FILES_PER_GROUP]]
    ]


def _val_labels(root: Path, label_of: dict[str, int]) -> dict[str, int]:
    """The label of every validation image, by the stem of its name."""
    if (root / SOLUTION).is_file():
        with open(root / SOLUTION, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return {row["ImageId"]: label_of[row["PredictionString"].split()[0]] for row in rows}
    for below in KIT_BELOW:
        kit = root / below
        if (kit / GROUND_TRUTH).is_file() and (kit / META).is_file():
            synset_of = _synsets_by_id(kit / META)
            ids = [int(line) for line in read_lines(kit / GROUND_TRUTH)]
            return {KEY.format(number=n): label_of[synset_of[one]] for n, one in enumerate(ids, 1)}
    raise ValueError(
        f"{root}: the classes of the validation images are not known. Put {SOLUTION} there, or the development "
        f"kit's data/{GROUND_TRUTH} and data/{META}, or the images in val/SYNSET/."
    )


def _synsets_by_id(path: Path) -> dict[int, str]:
    """The synset of each id of the development kit."""
    from scipy.io import loadmat

    synsets = loadmat(path, squeeze_me=True)["synsets"]
    return {int(number): str(synset) for number, synset in zip(synsets["ILSVRC2012_ID"], synsets["WNID"])}
