"""Reads stored samples, their sizes, and samples whose texts are damaged.

One damaged text must not fail its whole shard: `show` leaves the sample out and counts it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from streaming.base.format.mds import MDSReader


class SizedReader(MDSReader):  # type: ignore[misc]
    """A shard's reader that knows how large the sample was that it read last."""

    sample_bytes = 0

    def get_sample_data(self, idx: int) -> bytes:
        data: bytes = super().get_sample_data(idx)
        self.sample_bytes = len(data)
        return data


def read_leniently(shard: Any, row: int) -> dict[str, Any]:
    """A sample, where bytes of a text that are not UTF-8 become lone surrogates, and a text that is not JSON None."""
    encodings = shard.column_encodings
    shard.column_encodings = ["bytes" if encoding in _LENIENT else encoding for encoding in encodings]
    try:
        sample: dict[str, Any] = shard[row]
    finally:
        shard.column_encodings = encodings
    for name, encoding in zip(shard.column_names, encodings, strict=True):
        if encoding in _LENIENT:
            sample[name] = _LENIENT[encoding](sample[name])
    return sample


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")


def _json(stored: bytes) -> Any:
    try:
        return json.loads(stored)
    except ValueError:
        return None


_LENIENT: dict[str, Callable[[bytes], Any]] = {"str": _text, "json": _json}  # by MDS encoding
