"""Where a sweep's data stand: paths resolved, presence checked, the training set known by its content."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from scaling.field_types import Tokenizer
from scaling.science import UNRESOLVED
from scaling.shard_index import read_shard_index
from scaling.sweep_file import SweepError

LABELLED_PARTS = ("train", "test")  # MDS folders of a labelled set
LABELLED_TEXTS = ("classnames.txt", "zeroshot_classification_templates.txt")  # one name, one prompt per line
HOW_TO_MAKE_DATA = (
    "Make one with `scaling data convert SRC DST` (from tar files of images and captions) or "
    "`scaling data render DST` (scenes drawn offline)."
)

_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(_Frozen):
    """Where the data stand; a training set may still be unset while one only plans."""

    train: Path | None = None  # MDS folder
    validation: Path | None = None  # MDS folder of held-out pairs
    labelled: Path | None = None  # folder with train/, test/, classnames.txt and prompt templates
    vocabularies: dict[Tokenizer, Path] = Field(default_factory=dict)  # tokenizer -> its file or folder
    label_counts: dict[Tokenizer, Path] = Field(default_factory=dict)  # tokenizer -> counts for idf: frozen


class DataPaths(_Frozen):
    """Where this machine keeps the data of a point; not part of its identity."""

    train: Path
    validation: Path
    labelled: Path | None
    vocabulary: Path | None = None  # of the point's tokenizer, where it has a file
    label_counts: Path | None = None  # that frozen IDF is read from
    image_weights: Path | None = None  # of the run that the image tower starts from


def resolve_paths(section: Mapping[str, Any], where: str = "data") -> dict[str, Any]:
    """The `data` section with ${NAME} and ~ resolved; relative paths start at the current directory."""
    return {key: _resolve(value, f"{where}.{key}") for key, value in section.items()}


def _resolve(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return resolve_paths(value, where)
    return resolve_path(value, where) if isinstance(value, str) else value


def resolve_path(text: str, where: str) -> Path:
    """The path that stands at `where` in a sweep file; SweepError for one that cannot be resolved."""

    def value_of(match: re.Match[str]) -> str:
        value = os.environ.get(match[1], "")
        if not value:
            raise SweepError(
                f"{where}: {text!r} needs the environment variable {match[1]}, which is not set: "
                f"export {match[1]}=DIR, or give the path with --set {where}=DIR."
            )
        return value

    if not text.strip() or "$" in _VARIABLE.sub("", text):
        raise SweepError(
            f"{where}: {text!r} is not a path: write a folder; environment variables as ${{NAME}}."
        )
    try:
        return Path(_VARIABLE.sub(value_of, text)).expanduser().absolute()
    except RuntimeError as error:
        raise SweepError(f"{where}: {text!r} cannot be resolved ({error}).") from error


def resolve_data(section: DataSection, require_data: bool) -> tuple[DataPaths, str]:
    """The paths, and the digest of the training set; every missing set is reported at once."""
    if require_data:
        problems = [
            problem for key in ("train", "validation", "labelled") if (problem := _problem(section, key))
        ]
        if problems:
            raise SweepError("\n  ".join([*problems, HOW_TO_MAKE_DATA]))
    absent = Path(UNRESOLVED)
    paths = DataPaths(
        train=section.train or absent, validation=section.validation or absent, labelled=section.labelled
    )
    has_index = section.train is not None and (section.train / "index.json").exists()
    return paths, read_shard_index(paths.train).digest if has_index else UNRESOLVED


def _problem(section: DataSection, key: str) -> str | None:
    folder: Path | None = getattr(section, key)
    if folder is None:
        unset = f"data.{key} is not set: set data.{key} in the file or with --set data.{key}=DIR."
        return None if key == "labelled" else unset
    try:
        for part in LABELLED_PARTS if key == "labelled" else ("",):
            read_shard_index(folder / part)
        for name in LABELLED_TEXTS if key == "labelled" else ():
            if not (folder / name).is_file():
                return f"data.{key}: {folder} has no {name}."
    except ValueError as error:
        return f"data.{key}: {error}"
    return None
