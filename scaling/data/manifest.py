"""The manifest that a conversion writes beside its shards: where samples come from, what was left out and why."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from scaling.data.conversion.settings import ConversionSettings


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Frozen):
    """One group of the source and what came out of it."""

    source: str  # path of the file below the source folder, and which of its samples, or URL
    source_bytes: int
    source_sha256: str  # of a tar's bytes; of the samples as read where the source is no tar
    num_samples: int
    rejects: dict[str, int]  # samples left out, by reason
    settings: ConversionSettings = ConversionSettings()


class SetManifest(_Frozen):
    """`manifest.json` of one MDS folder: where its samples come from."""

    kind: str = "tars"  # of the source, or the recipe
    num_samples: int
    digest: str  # of the shards' content, as in a run's science
    rejects: dict[str, int]  # over all parts
    decode_every: int  # one image in so many was decoded fully, all others by their header
    settings: ConversionSettings = ConversionSettings()
    parts: list[Part]

    def file_text(self) -> str:
        """The JSON of the file, where the settings stand once and not with every part."""
        return self.model_dump_json(indent=1, exclude={"parts": {"__all__": {"settings"}}})


class LabelledManifest(_Frozen):
    """`manifest.json` of a labelled set, beside train/ and test/."""

    kind: str
    num_samples: dict[str, int]  # by folder
    class_names: list[str]  # by label
    class_names_from: str
    templates: list[str]
    templates_from: str


_File = TypeVar("_File", Part, SetManifest)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a conversion made: one set, or one for each part of its source."""

    sets: Mapping[Path, SetManifest]  # by MDS folder

    @property
    def num_samples(self) -> int:
        return sum(found.num_samples for found in self.sets.values())

    @property
    def rejects(self) -> dict[str, int]:
        return sum_rejects(found.rejects for found in self.sets.values())


def read_part(folder: Path) -> Part:
    """What a finished part was made from; ValueError naming its part.json if that cannot be read."""
    return _content(folder / "part.json", Part)


def read_set_manifest(folder: Path) -> SetManifest | None:
    """The manifest of a converted MDS folder; None for a set that was made otherwise."""
    path = folder / "manifest.json"
    return _content(path, SetManifest) if path.is_file() else None


def _content(path: Path, kind: type[_File]) -> _File:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(
            f"{path} is not what a conversion leaves ({first['msg']}): convert the data to an empty folder."
        ) from error


def sum_rejects(rejects: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason, without zeros, in alphabetical order."""
    total: Counter[str] = Counter()
    for counts in rejects:
        total.update(counts)
    return {reason: total[reason] for reason in sorted(total) if total[reason]}
