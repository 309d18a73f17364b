"""A labelled set of image files in one folder per class: train/CLASS/*.jpg and test/CLASS/*.jpg (or val)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from scaling.data.conversion.labelled_sources import class_folders
from scaling.data.conversion.listed_files import ListedGroup, ListedImage
from scaling.data.labelled import TEST, TRAIN, LabelledSet, read_labelled_set
from scaling.inputs.data_paths import is_class_folders


class ImageFolder:
    """The images of class folders by index, with the columns of an MDS folder; read when asked for."""

    def __init__(self, folder: Path, root: Path, images: tuple[ListedImage, ...]) -> None:
        self.folder = folder
        self._root = root
        self._images = images

    @functools.cached_property
    def digest(self) -> str:
        """Digest of every image's path, class and size; reading the pixels would take as long as evaluating them."""
        digest = xxhash.xxh64()
        for image in self._images:
            size = (self._root / image.path).stat().st_size
            digest.update(f"{image.path}\0{image.label}\0{size}\n".encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder}: no sample {index}, there are {len(self):,}")
        image = self._images[index]
        try:
            content = (self._root / image.path).read_bytes()
        except OSError as error:
            raise ValueError(
                f"{self._root / image.path} cannot be read ({error.strerror or error})."
            ) from error
        return {"jpg": content, "caption": image.captions[0], "key": image.key, "label": image.label}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))


def open_labelled_set(folder: Path) -> LabelledSet:
    """The labelled set in `folder`, shards or class folders.  Raises ValueError naming what is missing or wrong."""
    return read_image_folder(folder) if is_class_folders(folder) else read_labelled_set(folder)


def read_image_folder(root: Path) -> LabelledSet:
    """The labelled set in class folders; names and prompts from the texts beside them, where there are any.

    Raises ValueError naming what is missing.
    """
    source = class_folders(root)
    sets = {}
    for name, groups in source.groups.items():
        images = tuple(image for group in groups if isinstance(group, ListedGroup) for image in group.images)
        sets[name] = ImageFolder(root / name, root, images)
    return LabelledSet(
        train=sets[TRAIN],
        test=sets[TEST],
        class_names=source.classes.names,
        templates=source.classes.templates,
    )
