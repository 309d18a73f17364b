"""Samples to be converted, the groups of a source that they come in, and the reasons why one is left out."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

# Why a sample is left out.
UNREADABLE_TAR = "unreadable tar"  # once per tar: not a tar at all
TRUNCATED_TAR = "truncated tar"  # once per tar: it ends too early; the samples before the cut are kept
DUPLICATE_KEY = "duplicate key"  # within a group; the first sample of that key is kept
MISSING_IMAGE = "missing image"
MISSING_CAPTION = "missing caption"
EMPTY_CAPTION = "empty caption"
UNREADABLE_CAPTION = "unreadable caption"  # not UTF-8, or not the JSON it should be
UNDECODABLE_IMAGE = "undecodable image"
TRUNCATED_IMAGE = "truncated image"
OVERSIZED_IMAGE = "decompression bomb"  # more pixels than any photograph: never decoded
TOO_SMALL = "too small"  # below min_side


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image with its captions."""

    key: str  # for tars and folders the path of its members up to the first dot of their name
    image: bytes  # as found
    captions: tuple[str, ...]  # at least one; the main one first
    label: int | None = None  # its class, in a labelled set


@dataclasses.dataclass(slots=True)
class Readings:
    """What was found while a group was read; complete once its samples are exhausted."""

    rejects: Counter[str] = dataclasses.field(default_factory=Counter)  # samples left out, by reason
    num_bytes: int = 0  # of the source
    sha256: str = ""  # of the source, or of its samples where the source is no tar


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """The samples of a group, and what is known before the first is read."""

    samples: Iterator[Sample]
    readings: Readings
    has_several_captions: bool = False
    has_labels: bool = False


class Group(Protocol):
    """One unit of a source, which becomes one part: small, and cheap to send to another process."""

    @property
    def name(self) -> str:
        """Unique within the source; what the manifest calls it."""
        ...

    @property
    def num_bytes(self) -> int | None:
        """Of the file or files, compared when a conversion is continued; None where only reading tells."""
        ...

    @property
    def content_bytes(self) -> int | None:
        """Roughly how many bytes will be written; None where only reading tells."""
        ...

    def open(self, scratch: Path) -> contextlib.AbstractContextManager[Opened]:
        """The samples; may create the folder `scratch`, which the caller removes.  ValueError if unreadable."""
        ...


class SampleHash:
    """The sha256 of samples as read, for sources that are no single file."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, sample: Sample) -> None:
        texts = (sample.key, *sample.captions, str(sample.label))
        blocks = [*(text.encode() for text in texts), sample.image]
        self._digest.update(b"".join(b"%d:" % len(block) + block for block in blocks))

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def hashed(samples: Iterator[Sample], readings: Readings) -> Iterator[Sample]:
    """The same samples; sets `readings.sha256` to their hash when they are exhausted."""
    digest = SampleHash()
    for sample in samples:
        digest.add(sample)
        yield sample
    readings.sha256 = digest.hexdigest()
