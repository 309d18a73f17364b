r"""A mapping file: which columns of foreign results are which columns of a study.

compute: {convention: forward_gmacs, total: gmacs_total}
columns:
  run_id: [name, arch]                                     # several columns are joined by "-"
  image_tower: arch
  samples_seen: {column: samples_b, scale: 1e9}
  objective: {column: arch, match: {SigLIP: siglip, ".*": clip}}    # the first pattern that is found decides
  parameters: {column: profile.image_mparams, scale: 1.0e+6}
values: {seed: 0}                                          # the same for every row
metrics:
  "{dataset}.top1": {column: acc1, kind: accuracy}         # one metric per value of the column dataset
where: {split: test, scheduler: [cosine, wsd], epoch: {equals: total_epochs}}
profile: {files: [models.csv], key: model, of: arch}       # further columns, as profile.<column>
keep: [dataset]
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from analysis.imports.conventions import CONVENTIONS

FOLDER = Path(__file__).parent
BUILTIN_MAPPINGS = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
STUDY_COLUMNS = ("objective", "image_tower", "samples_seen", "parameters", "seed", "run_id")
REQUIRED_COLUMNS = ("objective", "image_tower", "samples_seen")


class _Strict(BaseModel):
    """Frozen; an unknown key is an error that names the intended one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        for key in given if isinstance(given, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}{did_you_mean(key, cls.model_fields)}")
        return given


class Column(_Strict):
    """Where a column of the study comes from."""

    column: tuple[str, ...] = Field(min_length=1)
    scale: float = 1.0  # value x scale is in the unit of the study: samples, parameters
    match: dict[str, str] = {}  # regular expression: value instead, \\1 for its first group

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        """`arch` and `[name, arch]` for `{column: ...}`."""
        given = {"column": given} if isinstance(given, (str, list, tuple)) else given
        if isinstance(given, dict) and isinstance(given.get("column"), str):
            given = given | {"column": (given["column"],)}
        return given


class Metric(_Strict):
    """A score, and how it becomes an error: 1 - scale x accuracy, scale x error, or scale x loss."""

    column: str
    kind: Literal["accuracy", "error", "loss"]
    scale: float = 1.0  # 0.01 for percent
    where: dict[str, Any] = {}
    optional: bool = False  # leave it out where the results lack the column


class Compute(_Strict):
    """The column of compute and what a number in it counts."""

    convention: str
    total: str | None = None  # of the whole run
    per_sample: str | None = None  # of one sample

    @model_validator(mode="after")
    def _stated(self) -> Compute:
        if self.convention not in CONVENTIONS:
            raise ValueError(
                f"unknown convention {self.convention!r}{did_you_mean(self.convention, CONVENTIONS)}"
            )
        if self.total is None and self.per_sample is None:
            raise ValueError("name the column of compute: total (of a run) or per_sample, or both")
        return self


class Profile(_Strict):
    """A second table of the towers: sizes and costs."""

    files: tuple[str, ...] = Field(min_length=1)  # the first that exists, beside the results
    key: str  # its column of names
    of: str  # the column of the results that holds such a name


class ResultsMapping(_Strict):
    """All that is needed to read foreign results."""

    # None: by the name of the file
    format: Literal["csv", "parquet", "jsonl", "open_clip_logs"] | None = None
    compute: Compute
    columns: dict[str, Column] = {}
    values: dict[str, Any] = {}
    metrics: dict[str, Metric] = Field(min_length=1)  # name, perhaps with {column} in it: its metric
    where: dict[str, Any] = {}  # value, list of values, or {equals: column}
    profile: Profile | None = None
    keep: tuple[str, ...] = ()  # columns to carry over as they are

    @model_validator(mode="after")
    def _complete(self) -> ResultsMapping:
        for key in (*self.columns, *self.values):
            if key not in STUDY_COLUMNS:
                raise ValueError(f"{key!r} is not a column of a study{did_you_mean(key, STUDY_COLUMNS)}")
        twice = sorted(set(self.columns) & set(self.values))
        if twice:
            raise ValueError(f"{twice} stand in both columns and values; keep one")
        missing = [key for key in REQUIRED_COLUMNS if key not in (*self.columns, *self.values)]
        if missing:
            raise ValueError(f"{missing} missing; give each a column (columns) or one value (values)")
        return self

    def with_values(self, values: Mapping[str, Any]) -> ResultsMapping:
        """The same with fixed values in place of columns."""
        kept = {key: column for key, column in self.columns.items() if key not in values}
        return ResultsMapping.model_validate(
            self.model_dump() | {"columns": kept, "values": self.values | dict(values)}
        )


def read_mapping(mapping: str | Path) -> ResultsMapping:
    """The mapping of a YAML file or of a builtin name; ValueError names file, key, rule and fix."""
    path = FOLDER / f"{mapping}.yaml" if str(mapping) in BUILTIN_MAPPINGS else Path(mapping)
    if not path.is_file():
        raise ValueError(
            f"mapping {str(mapping)!r}: no such file, nor one of {', '.join(BUILTIN_MAPPINGS)}"
            f"{did_you_mean(str(mapping), BUILTIN_MAPPINGS, known=False)}."
        )
    try:
        return ResultsMapping.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}.") from error
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, part['loc'])) or 'mapping'}: {part['msg'].removeprefix('Value error, ')}"
            for part in error.errors()
        )
        raise ValueError(f"{path}: {told}.") from error


def did_you_mean(name: str, names: Iterable[str], *, known: bool = True) -> str:
    """ "; did you mean 'acc1'?", or the known names where none is near."""
    choices = [str(choice) for choice in names]
    near = difflib.get_close_matches(str(name), choices, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(choices)}" if known else ""
