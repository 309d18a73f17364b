"""Images that are files, each with captions and perhaps a class, known before any is read."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from scaling.data.samples import (
    EMPTY_CAPTION,
    MISSING_CAPTION,
    MISSING_IMAGE,
    Opened,
    Readings,
    Sample,
    hashed,
)

FILES_PER_GROUP = 10_000  # as in a tar of img2dataset


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ListedImage:
    """One image file."""

    key: str
    path: str  # below the root of its group
    captions: tuple[str, ...]  # main one first
    label: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ListedGroup:
    """Some of the listed images, which become one part."""

    name: str
    root: Path
    images: tuple[ListedImage, ...]
    num_bytes: int | None  # of the files that are there

    @property
    def content_bytes(self) -> int | None:
        return self.num_bytes

    @contextlib.contextmanager
    def open(self, scratch: Path) -> Iterator[Opened]:
        """The images that can be read; missing ones are counted."""
        readings = Readings(num_bytes=self.num_bytes or 0)
        yield Opened(
            samples=hashed(self._samples(readings), readings),
            readings=readings,
            has_several_captions=any(len(image.captions) > 1 for image in self.images),
            has_labels=any(image.label is not None for image in self.images),
        )

    def _samples(self, readings: Readings) -> Iterator[Sample]:
        for image in self.images:
            if not any(image.captions):
                readings.rejects[EMPTY_CAPTION if image.captions else MISSING_CAPTION] += 1
                continue
            try:
                content = (self.root / image.path).read_bytes()
            except FileNotFoundError:
                readings.rejects[MISSING_IMAGE] += 1
                continue
            yield Sample(key=image.key, image=content, captions=image.captions, label=image.label)


def listed_groups(name: str, root: Path, images: Sequence[ListedImage]) -> list[ListedGroup]:
    """The images in groups of 10,000, named after the set and their place in it."""
    return [
        ListedGroup(
            name=f"{name}[{start}:{start + len(some)}]",
            root=root,
            images=tuple(some),
            num_bytes=_total_bytes(root, some),
        )
        for start in range(0, len(images), FILES_PER_GROUP)
        for some in [images[start : start + FILES_PER_GROUP]]
    ]


def _total_bytes(root: Path, images: Sequence[ListedImage]) -> int:
    total = 0
    for image in images:
        with contextlib.suppress(FileNotFoundError):
            total += (root / image.path).stat().st_size
    return total
