"""Files of labelled sets as their owners publish them, made small, and what conversions made of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from PIL import Image

from scaling.data.labelled import read_labelled_set


def picture(*, colour: int = 0) -> bytes:
    """A picture of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (colour % 256, colour // 256, 0)).save(stream, "JPEG", quality=100)
    return stream.getvalue()


def put(path: Path, content: bytes | str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def tar_of(members: dict[str, bytes]) -> bytes:
    """The bytes of a tar."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def labelled(folder: Path) -> dict[str, list[tuple[str, int]]]:
    """Key and label of every sample of train and test, and that evaluation accepts the set."""
    found = read_labelled_set(folder)
    for part in (found.train, found.test):
        found.labels(list(part))
    return {
        name: [(sample["key"], int(sample["label"])) for sample in part]
        for name, part in (("train", found.train), ("test", found.test))
    }
