"""Where a sweep's data are: resolves paths, checks that they exist, identifies the training set by its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from scaling.inputs.shard_index import ShardIndex, read_shard_index
from scaling.inputs.train_sources import TrainSource, mixture_digest, source_index, train_sources
from scaling.inputs.written_paths import resolve_path
from scaling.sweep.field_types import Tokenizer
from scaling.sweep.science import UNRESOLVED
from scaling.sweep.sweep_file import SweepError

LABELLED_PARTS = ("train", "test")  # MDS folders of a labelled set
LABELLED_TEXTS = ("classnames.txt", "zeroshot_classification_templates.txt")  # one name, one prompt per line
HOW_TO_MAKE_DATA = (
    "Make one with `scaling data convert SRC DST` (from tar files of images and captions) or "
    "`scaling data render DST` (scenes drawn offline)."
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(_Frozen):
    """The `data` section of a sweep; for planning alone the training set may be unset."""

    train: tuple[TrainSource, ...] = ()  # MDS folders
    validation: Path | None = None  # MDS folder of held-out pairs
    # train/, test/, classnames.txt and prompt templates; or class folders of images
    labelled: Path | None = None
    cache: Path | None = None  # folder of this machine for shards of remote sources
    vocabularies: dict[Tokenizer, Path] = Field(default_factory=dict)  # tokenizer -> its file or folder
    label_counts: dict[Tokenizer, Path] = Field(default_factory=dict)  # tokenizer -> counts for idf: frozen


def _one_folder(value: object) -> object:
    """Runs of before there were mixtures name the folder of their only source."""
    return [{"folder": value}] if isinstance(value, (str, Path)) else value


class DataPaths(_Frozen):
    """Where this machine keeps the data of a point; not part of its identity."""

    train: Annotated[tuple[TrainSource, ...], BeforeValidator(_one_folder)]
    train_samples: int = 0  # of all sources, as their indexes count; 0 where they were not read
    # mean stored bytes of the samples shown, over all sources; 0 where their indexes were not read
    sample_bytes: float = 0.0
    validation: Path
    labelled: Path | None
    vocabulary: Path | None = None  # of the point's tokenizer, where it has a file
    label_counts: Path | None = None  # that frozen IDF is read from
    image_weights: Path | None = None  # of the run that the image tower starts from


def resolve_paths(section: Mapping[str, Any], where: str = "data") -> dict[str, Any]:
    """The `data` section with ${NAME} and ~ resolved; relative paths start at the current directory."""
    resolved = {key: _resolve(value, f"{where}.{key}") for key, value in section.items() if key != "train"}
    if section.get("train") is None:
        return resolved
    return {**resolved, "train": train_sources(section["train"], resolved.get("cache"), f"{where}.train")}


def _resolve(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return resolve_paths(value, where)
    return resolve_path(value, where) if isinstance(value, str) else value


def resolve_data(section: DataSection, require_data: bool) -> tuple[DataPaths, str]:
    """The paths, and the digest of the training set; every missing set is reported at once."""
    if require_data:
        problems = [
            problem for key in ("train", "validation", "labelled") if (problem := _problem(section, key))
        ]
        if problems:
            raise SweepError("\n  ".join([*problems, HOW_TO_MAKE_DATA]))
    absent = Path(UNRESOLVED)
    indexes = [source_index(source, require_data) for source in section.train]
    found = [index for index in indexes if index is not None]
    is_known = bool(indexes) and len(found) == len(indexes)
    paths = DataPaths(
        train=section.train or (TrainSource(folder=absent),),
        train_samples=sum(index.num_samples for index in found) if is_known else 0,
        sample_bytes=_mean_bytes(section.train, found) if is_known else 0.0,
        validation=section.validation or absent,
        labelled=section.labelled,
    )
    return paths, mixture_digest(section.train, found) if is_known else UNRESOLVED


def _mean_bytes(sources: Sequence[TrainSource], indexes: Sequence[ShardIndex]) -> float:
    means = [
        source.proportion * index.num_bytes / index.num_samples
        for source, index in zip(sources, indexes, strict=True)
    ]
    return sum(means) / sum(source.proportion for source in sources)


def is_class_folders(folder: Path) -> bool:
    """Whether a labelled set is folders of image files, one per class, rather than shards."""
    train = folder / LABELLED_PARTS[0]
    return train.is_dir() and not (train / "index.json").exists() and any(map(Path.is_dir, train.iterdir()))


def _problem(section: DataSection, key: str) -> str | None:
    if key == "train" and section.train:
        problems = (
            _folder_problem(source.folder, "train") for source in section.train if source.remote is None
        )
        return next((problem for problem in problems if problem), None)
    folder: Path | None = getattr(section, key) or None
    if folder is None:
        unset = f"data.{key} is not set: set data.{key} in the file or with --set data.{key}=DIR."
        return None if key == "labelled" else unset
    return _folder_problem(folder, key)


def _folder_problem(folder: Path, key: str) -> str | None:
    try:
        if key == "labelled" and is_class_folders(folder):
            return None
        for part in LABELLED_PARTS if key == "labelled" else ("",):
            read_shard_index(folder / part)
        for name in LABELLED_TEXTS if key == "labelled" else ():
            if not (folder / name).is_file():
                return f"data.{key}: {folder} has no {name}."
    except ValueError as error:
        return f"data.{key}: {error}"
    return None
