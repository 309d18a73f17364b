"""Hashes of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xxhash

READ_BYTES = 1 << 20


def file_hashes(path: Path, names: Iterable[str]) -> dict[str, str]:
    """The hexadecimal digests of a file, which is read once; names are those of xxhash (xxh64) and hashlib (sha1)."""
    digests: dict[str, Any] = {
        name: getattr(xxhash, name)() if hasattr(xxhash, name) else hashlib.new(name) for name in names
    }
    with open(path, "rb") as stream:
        while digests and (block := stream.read(READ_BYTES)):
            for digest in digests.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in digests.items()}
