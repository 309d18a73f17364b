"""Stored samples as a shard gives them: how many bytes they took, and what is left of one whose texts are damaged.

Such a one is for whoever shows it to leave out, not for its shard to fail.
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
    """A sample with a text that is not UTF-8, whose bytes then are lone surrogates, or not JSON, which then is None."""
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
