"""Image-caption samples of one webdataset tar (img2dataset, DataComp), the unusable ones counted."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
ROLES = {
    **dict.fromkeys(IMAGE_EXTENSIONS, "image"),
    "txt": "txt",
    "json": "json",
}  # other members are not read

# Why a sample is left out.
UNREADABLE_TAR = "unreadable tar"  # once per tar: not a tar at all
TRUNCATED_TAR = "truncated tar"  # once per tar: it ends too early; the samples before the cut are kept
DUPLICATE_KEY = "duplicate key"  # within a tar; the first sample of that key is kept
MISSING_IMAGE = "missing image"
MISSING_CAPTION = "missing caption"
EMPTY_CAPTION = "empty caption"
UNREADABLE_CAPTION = "unreadable caption"  # not UTF-8, or not the JSON it should be
UNDECODABLE_IMAGE = "undecodable image"

Members = dict[str, tarfile.TarInfo]  # of one key, by role


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image and what was written about it."""

    key: str  # the path of its members up to the first dot of their name
    image: bytes  # as found
    captions: tuple[str, ...]  # at least one; the main one first


class TarSamples:
    """The usable samples of a tar, in the order of their keys there; `rejects` counts the others by reason.

    The members of a key may stand anywhere in the tar.  The header of every image is read, and every
    `decode_every`-th image is decoded to its last pixel.
    """

    def __init__(self, path: Path, *, decode_every: int) -> None:
        self.rejects: Counter[str] = Counter()
        self._path = path
        self._decode_every = decode_every
        with open(path, "rb") as stream:
            self._usable = list(self._with_captions(stream, self._scan(stream)))
        self.has_several_captions = any(len(captions) > 1 for _, _, captions in self._usable)

    def __iter__(self) -> Iterator[Sample]:
        with open(self._path, "rb") as stream:
            for number, (key, member, captions) in enumerate(self._usable):
                image = _read(stream, member)
                if _is_decodable(image, fully=number % self._decode_every == 0):
                    yield Sample(key=key, image=image, captions=captions)
                else:
                    self.rejects[UNDECODABLE_IMAGE] += 1

    def _scan(self, stream: BinaryIO) -> dict[str, Members]:
        """The members of every key; of those that share key and role, the first."""
        samples: dict[str, Members] = {}
        repeats: Counter[tuple[str, str]] = Counter()
        try:
            for member in _members(stream):
                key, role = _key_and_role(member)
                if role is None:
                    continue
                if role in samples.setdefault(key, {}):
                    repeats[key, role] += 1
                samples[key].setdefault(role, member)
        except EOFError:
            self.rejects[TRUNCATED_TAR] += 1
        except tarfile.TarError:
            self.rejects[UNREADABLE_TAR] += 1
        most_repeated = {key: max(repeats[key, role] for role in members) for key, members in samples.items()}
        self.rejects.update({DUPLICATE_KEY: sum(most_repeated.values())})
        return samples

    def _with_captions(
        self, stream: BinaryIO, samples: dict[str, Members]
    ) -> Iterator[tuple[str, tarfile.TarInfo, tuple[str, ...]]]:
        for key, members in samples.items():
            if "image" not in members:
                self.rejects[MISSING_IMAGE] += 1
                continue
            try:
                captions = _captions(stream, members)
            except (ValueError, TypeError):
                self.rejects[UNREADABLE_CAPTION] += 1
                continue
            if any(captions):
                yield key, members["image"], captions
            else:
                self.rejects[EMPTY_CAPTION if captions else MISSING_CAPTION] += 1


def _members(stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The whole members of a tar.  Raises EOFError after them if the tar is cut, TarError if it is none."""
    num_bytes = os.fstat(stream.fileno()).st_size
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        try:
            for member in tar:
                if member.offset_data + member.size > num_bytes:
                    raise EOFError
                yield member
        except tarfile.ReadError as error:
            raise EOFError from error
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:  # no end-of-archive mark
            raise EOFError


def _key_and_role(member: tarfile.TarInfo) -> tuple[str, str | None]:
    """As in webdataset: the key ends, and the extension begins, at the first dot of the file's name."""
    folder, _, name = member.name.rpartition("/")
    stem, _, extension = name.partition(".")
    if not member.isfile() or not stem:
        return "", None
    key = f"{folder}/{stem}" if folder else stem
    return key.encode("utf-8", "backslashreplace").decode("utf-8"), ROLES.get(extension.lower())


def _captions(stream: BinaryIO, members: Members) -> tuple[str, ...]:
    """The captions, main one first; ("",) if they are empty, none if there are none.

    The main caption is the text file's, or else the JSON's "caption"; the JSON's "captions" come with it.
    Raises ValueError or TypeError where they are not what they should be.
    """
    described = json.loads(_read(stream, members["json"])) if "json" in members else {}
    if not isinstance(described, dict) or not isinstance(described.get("captions") or [], list):
        raise TypeError("the JSON of a sample must be an object, its captions a list")
    stated = [_stripped(caption) for caption in described.get("captions") or []]
    if "txt" in members:
        stated.insert(0, _read(stream, members["txt"]).decode("utf-8").strip())
    elif described.get("caption") is not None:
        stated.insert(0, _stripped(described["caption"]))
    captions = [caption for caption in stated if caption]
    if captions and captions[0] in captions[1:]:  # the main caption is one of the list
        captions.pop(captions.index(captions[0], 1))
    return tuple(captions or stated[:1])


def _stripped(caption: object) -> str:
    if not isinstance(caption, str):
        raise TypeError(f"a caption must be a string, not {caption!r}")
    caption.encode("utf-8")  # JSON can spell half a character, which no shard can hold: a ValueError
    return caption.strip()


def _read(stream: BinaryIO, member: tarfile.TarInfo) -> bytes:
    stream.seek(member.offset_data)
    return stream.read(member.size)


def _is_decodable(image: bytes, *, fully: bool) -> bool:
    """Whether Pillow can read the picture's header and, `fully`, all of it; never beyond 179 megapixels."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(image)) as picture:
            warnings.simplefilter("ignore")
            if fully:
                picture.load()
            else:
                picture.verify()
    except (
        Exception
    ):  # Pillow's decoders raise nearly anything: OSError, SyntaxError, struct.error, zlib.error
        return False
    return True
