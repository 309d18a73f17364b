"""What a conversion leaves beside its shards: where its samples come from, and what was left out and why."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Frozen):
    """One source tar and what came out of it."""

    source: str  # path of the tar below the source folder
    source_bytes: int
    source_sha256: str
    num_samples: int
    rejects: dict[str, int]  # samples left out, by reason


class SetManifest(_Frozen):
    """`manifest.json` of one MDS folder: where its samples come from."""

    num_samples: int
    digest: str  # of the shards' content, as in a run's science
    rejects: dict[str, int]  # over all parts
    decode_every: int  # one image in so many was decoded fully, all others by their header
    parts: list[Part]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a conversion made: one set, or one each for training and validation."""

    sets: Mapping[Path, SetManifest]  # by MDS folder

    @property
    def num_samples(self) -> int:
        return sum(found.num_samples for found in self.sets.values())

    @property
    def rejects(self) -> dict[str, int]:
        return sum_rejects(found.rejects for found in self.sets.values())


def read_part(folder: Path) -> Part:
    return Part.model_validate_json((folder / "part.json").read_text(encoding="utf-8"))


def sum_rejects(rejects: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason, without zeros, in alphabetical order."""
    total: Counter[str] = Counter()
    for counts in rejects:
        total.update(counts)
    return {reason: total[reason] for reason in sorted(total) if total[reason]}
