"""Images in tars, whose class is that of an inner tar or is looked up by name: ImageNet as its owners publish it."""

from __future__ import annotations

import contextlib
import dataclasses
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from scaling.data.conversion.tars import MemberReader, scan
from scaling.data.samples import MISSING_IMAGE, Opened, Readings, Sample, hashed


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClassTar:
    """A tar within a tar: all images of one class."""

    start: int  # bytes from the beginning of the outer tar
    end: int
    label: int
    class_name: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClassTarsGroup:
    """The images of some classes, each in a tar within the tar."""

    path: Path
    name: str
    tars: tuple[ClassTar, ...]
    num_bytes: int | None

    @property
    def content_bytes(self) -> int | None:
        return self.num_bytes

    @contextlib.contextmanager
    def open(self, scratch: Path) -> Iterator[Opened]:
        """The images, class by class."""
        readings = Readings(num_bytes=self.num_bytes or 0)
        yield Opened(samples=hashed(self._samples(readings), readings), readings=readings, has_labels=True)

    def _samples(self, readings: Readings) -> Iterator[Sample]:
        with open(self.path, "rb") as stream:
            for tar in self.tars:
                stream.seek(tar.start)
                members = scan(stream, readings.rejects, tar.end)
                read = MemberReader(stream)
                for key, roles in members.items():
                    if "image" in roles:
                        image = read(roles["image"])
                        yield Sample(key=key, image=image, captions=(tar.class_name,), label=tar.label)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NamedImagesGroup:
    """Images of a tar whose classes another file gives by their names."""

    path: Path
    name: str
    labels: Mapping[str, int]  # by the stem of the file's name
    names: tuple[str, ...]  # of all classes
    num_bytes: int | None

    @property
    def content_bytes(self) -> int | None:
        return self.num_bytes

    @contextlib.contextmanager
    def open(self, scratch: Path) -> Iterator[Opened]:
        """The images whose classes are given, in that order; those that the tar lacks are counted."""
        readings = Readings(num_bytes=self.num_bytes or 0)
        yield Opened(samples=hashed(self._samples(readings), readings), readings=readings, has_labels=True)

    def _samples(self, readings: Readings) -> Iterator[Sample]:
        with open(self.path, "rb") as stream:
            members = {key.rpartition("/")[2]: roles for key, roles in scan(stream, readings.rejects).items()}
            read = MemberReader(stream)
            for key, label in self.labels.items():
                if "image" not in members.get(key, {}):
                    readings.rejects[MISSING_IMAGE] += 1
                    continue
                image = read(members[key]["image"])
                yield Sample(key=key, image=image, captions=(self.names[label],), label=label)


def inner_tars(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tar within a tar begins and ends, by the stem of its name; ValueError if it cannot be read."""
    try:
        with tarfile.open(path, "r:") as tar:
            return {
                Path(member.name).stem: (member.offset_data, member.offset_data + member.size)
                for member in tar
                if member.isfile() and member.name.endswith(".tar")
            }
    except (OSError, tarfile.TarError) as error:
        raise ValueError(f"{path} cannot be read ({error}): copy it again.") from error
