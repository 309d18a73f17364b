"""Image-caption samples of one webdataset tar (img2dataset, DataComp), the unusable ones counted."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from scaling.data.conversion.captioned_members import gather, with_captions
from scaling.data.conversion.tar_locations import fetched
from scaling.data.samples import TRUNCATED_TAR, UNREADABLE_TAR, Opened, Sample

Members = dict[str, tarfile.TarInfo]  # of one key, by role


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TarGroup:
    """One tar: a file, a URL, or what a command prints."""

    name: str
    location: str
    num_bytes: int | None  # None where only reading tells

    @property
    def content_bytes(self) -> int | None:
        return self.num_bytes

    @contextlib.contextmanager
    def open(self, scratch: Path) -> Iterator[Opened]:
        """The usable samples, in the order in which their keys begin in the tar.

        The members of a key may stand anywhere in it, so a tar from elsewhere is fetched whole first.
        """
        path, readings = fetched(self.location, scratch)
        with open(path, "rb") as stream:
            usable = list(
                with_captions(scan(stream, readings.rejects), MemberReader(stream), readings.rejects)
            )
            yield Opened(
                samples=_samples(stream, usable),
                readings=readings,
                has_several_captions=any(len(captions) > 1 for _, _, captions in usable),
            )


def scan(stream: BinaryIO, rejects: Counter[str], end: int | None = None) -> dict[str, Members]:
    """The members of each key in the tar that begins at the stream's position and ends at `end` or with the file.

    Of members that share key and role, the first.  Damage is counted in `rejects`.
    """
    samples: dict[str, Members] = {}
    num_bytes = os.fstat(stream.fileno()).st_size if end is None else end
    try:
        gather(((member.name, member) for member in _members(stream, num_bytes)), samples, rejects)
    except EOFError:
        rejects[TRUNCATED_TAR] += 1
    except tarfile.TarError:
        rejects[UNREADABLE_TAR] += 1
    return samples


class MemberReader:
    """Reads the bytes of a member from the tar."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def __call__(self, member: tarfile.TarInfo) -> bytes:
        self._stream.seek(member.offset_data)
        return self._stream.read(member.size)


def _samples(
    stream: BinaryIO, usable: list[tuple[str, tarfile.TarInfo, tuple[str, ...]]]
) -> Iterator[Sample]:
    read = MemberReader(stream)
    for key, member, captions in usable:
        yield Sample(key=key, image=read(member), captions=captions)


def _members(stream: BinaryIO, num_bytes: int) -> Iterator[tarfile.TarInfo]:
    """The complete files of a tar; then raises EOFError if the tar is cut.  Raises TarError if it is no tar."""
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        try:
            for member in tar:
                if member.offset_data + member.size > num_bytes:
                    raise EOFError
                if member.isfile():
                    yield member
        except tarfile.ReadError as error:
            raise EOFError from error
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:  # no end-of-archive mark
            raise EOFError
