"""Folders of images beside files of the same name that caption them: cat.jpg, cat.txt or cat.json."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from scaling.data.conversion.captioned_members import ROLES, gather, with_captions
from scaling.data.conversion.listed_files import FILES_PER_GROUP
from scaling.data.samples import Opened, Readings, Sample, hashed


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FolderGroup:
    """Some of the keys of a folder, with all their files."""

    name: str
    root: Path
    files: tuple[str, ...]  # below the root
    num_bytes: int | None

    @property
    def content_bytes(self) -> int | None:
        return self.num_bytes

    @contextlib.contextmanager
    def open(self, scratch: Path) -> Iterator[Opened]:
        """The samples with an image and a caption; the others are counted."""
        readings = Readings(num_bytes=self.num_bytes or 0)
        samples: dict[str, dict[str, Path]] = {}
        gather(((name, self.root / name) for name in self.files), samples, readings.rejects)
        usable = list(with_captions(samples, Path.read_bytes, readings.rejects))
        yield Opened(
            samples=hashed(_samples(usable), readings),
            readings=readings,
            has_several_captions=any(len(captions) > 1 for _, _, captions in usable),
        )


def _samples(usable: list[tuple[str, Path, tuple[str, ...]]]) -> Iterator[Sample]:
    for key, path, captions in usable:
        yield Sample(key=key, image=path.read_bytes(), captions=captions)


def folder_groups(root: Path) -> list[FolderGroup]:
    """The captioned images anywhere below a folder, 10,000 keys a group."""
    by_key: dict[str, list[str]] = {}
    for path in root.rglob("*"):
        if path.suffix.lower().lstrip(".") in ROLES and not path.name.startswith("."):
            name = path.relative_to(root).as_posix()
            by_key.setdefault(name.partition(".")[0], []).append(name)
    keys = sorted(by_key)
    return [
        _group(root, start, keys[start : start + FILES_PER_GROUP], by_key)
        for start in range(0, len(keys), FILES_PER_GROUP)
    ]


def _group(root: Path, start: int, keys: list[str], by_key: dict[str, list[str]]) -> FolderGroup:
    files = tuple(name for key in keys for name in sorted(by_key[key]))
    return FolderGroup(
        name=f"files[{start}:{start + len(keys)}]",
        root=root,
        files=files,
        num_bytes=sum((root / name).stat().st_size for name in files),
    )
