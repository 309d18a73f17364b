"""Webdataset tars of small pictures, and what conversions made of them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from scaling.data.indexed import IndexedDataset


def image(number: int = 0, kind: str = "JPEG") -> bytes:
    """A picture of some pixels, another one for each number."""
    stream = io.BytesIO()
    Image.new("RGB", (12 + number % 5, 10), (number * 7 % 256, 30, 200)).save(stream, kind)
    return stream.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes | str]]) -> Path:
    """The path of a tar with these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def pairs(first: int, count: int) -> list[tuple[str, bytes | str]]:
    """The members of as many samples: an image and its caption."""
    return [
        member
        for number in range(first, first + count)
        for member in ((f"{number:06d}.jpg", image(number)), (f"{number:06d}.txt", f"caption {number}"))
    ]


def read(folder: Path) -> list[dict[str, Any]]:
    """All samples of an MDS folder."""
    return list(IndexedDataset(folder))
