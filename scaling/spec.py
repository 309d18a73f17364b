"""A sweep file, typed and checked, before it is expanded into points.

Reading order here: the models, `load_sweep`, then one function per section of the file.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from scaling.inputs.data_paths import DataSection, resolve_paths
from scaling.placement import PLACEMENT_AXES, PlacementSettings
from scaling.suggest import did_you_mean, explain
from scaling.sweep.field_types import Quantity
from scaling.sweep.science import COMPUTED_FIELDS, Science
from scaling.sweep.sweep_file import SweepError, apply_override, read_sweep_file

__all__ = ["DataSection", "EvaluateSection", "Sweep", "SweepError", "Task", "load_sweep", "sweep_name"]

Task = Literal["held_out_loss", "linear_probe", "zero_shot", "retrieval"]

SCIENCE_KEYS = frozenset(Science.model_fields) - COMPUTED_FIELDS
PLACEMENT_KEYS = frozenset(PlacementSettings.model_fields)
TOP_LEVEL_KEYS = ("name", "question", "vary", "also", "skip", "fixed", "seeds", "holdout", "data", "evaluate")

Model = TypeVar("Model", bound=BaseModel)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluateSection(_Frozen):
    """What is measured, by the names common to both objectives."""

    tasks: tuple[Task, ...] | None = None  # None: every task the data allow
    batch: Annotated[Quantity, Field(gt=0)] = 256  # samples; also the captions CLIP's held-out loss compares
    held_out_every_samples: Annotated[Quantity, Field(ge=0)] = 0  # of training; 0 = only at the end


class Sweep(_Frozen):
    """One question: axes, extra points and everything that is held fixed, each value typed and checked."""

    name: str  # of the folder below runs/
    question: str
    vary: dict[str, tuple[Any, ...]] = Field(default_factory=dict)  # axes; their product is taken
    also: tuple[dict[str, Any], ...] = ()  # extra points, laid over fixed
    skip: tuple[dict[str, tuple[Any, ...]], ...] = ()  # a point that matches every key of a rule is dropped
    fixed: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    holdout: tuple[dict[str, tuple[Any, ...]], ...] = ()  # points that match every key of a rule are sealed
    data: DataSection = DataSection()
    evaluate: EvaluateSection = EvaluateSection()
    path: Path
    settings: tuple[str, ...] = ()  # the "key=value" overrides that were laid over the file


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in a YAML file, "key=value" overrides laid over it; SweepError names file, key, rule, fix."""
    raw = read_sweep_file(path)
    for override in overrides:
        apply_override(raw, override, top_level=TOP_LEVEL_KEYS, fields=SCIENCE_KEYS | PLACEMENT_KEYS)
    try:
        return _typed_sweep(raw, path).model_copy(update={"settings": tuple(overrides)})
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from error.__cause__


def sweep_name(path: Path) -> str:
    """The name in a sweep file, whose data and environment variables need not be there."""
    try:
        return _name(read_sweep_file(path).get("name"))
    except SweepError as error:
        text = str(error)
        raise SweepError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def _typed_sweep(raw: Mapping[str, Any], path: Path) -> Sweep:
    for key in raw:
        if key not in TOP_LEVEL_KEYS:
            raise SweepError(_misplaced(key))
    vary, fixed = _mapping(raw, "vary"), _mapping(raw, "fixed")
    seeds = _seeds(raw, vary, fixed)
    for key in vary.keys() & fixed.keys():
        raise SweepError(f"{key} is both under vary and under fixed: keep one of them.")
    return Sweep(
        name=_name(raw.get("name")),
        question=_question(raw.get("question")),
        vary={key: _axis(key, values) for key, values in vary.items()},
        also=tuple(_values(point, f"also[{i}]") for i, point in enumerate(_list_of_mappings(raw, "also"))),
        skip=_rules(raw, "skip"),
        fixed=_values(fixed, "fixed"),
        seeds=seeds,
        holdout=_rules(raw, "holdout"),
        data=_section(DataSection, resolve_paths(_mapping(raw, "data")), "data"),
        evaluate=_section(EvaluateSection, _mapping(raw, "evaluate"), "evaluate"),
        path=path,
    )


def _misplaced(key: str) -> str:
    if key in SCIENCE_KEYS | PLACEMENT_KEYS:
        return f"{key} stands at the top level: write it under fixed (one value) or under vary (a list)."
    return f"unknown key {key!r}. {did_you_mean(key, TOP_LEVEL_KEYS)}"


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise SweepError(
            f"name: {value!r} must be text of letters, digits, '_', '-' and '.': it names a folder of runs."
        )
    return value


def _question(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SweepError(
            "question: write in one sentence what this sweep is to answer; the report opens with it."
        )
    return value.strip()


def _mapping(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    if value is not None and not isinstance(value, dict):
        raise SweepError(f"{key}: {value!r} must be a mapping of keys to values.")
    return dict(value or {})


def _list_of_mappings(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = raw.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) and item for item in value):
        raise SweepError(f"{key}: {value!r} must be a list of mappings, for example [{{objective: clip}}].")
    return value


def _seeds(raw: Mapping[str, Any], vary: dict[str, Any], fixed: dict[str, Any]) -> tuple[int, ...]:
    """Seeds from `seeds`, `vary.seed` or `fixed.seed`, whichever is written; (0,) if none is."""
    given = {
        "seeds": raw.get("seeds"),
        "vary.seed": vary.pop("seed", None),
        "fixed.seed": fixed.pop("seed", None),
    }
    written = {key: value for key, value in given.items() if value is not None}
    if len(written) > 1:
        raise SweepError(f"the seed is given by {' and by '.join(written)}: keep one of them.")
    for key, value in written.items():
        seeds = [value] if key == "fixed.seed" else value
        if not isinstance(seeds, list) or not seeds:
            raise SweepError(f"{key}: {value!r} must be a list of whole numbers, for example [0, 1, 2].")
        return tuple(dict.fromkeys(_field_value("seed", seed, key) for seed in seeds))
    return (0,)


def _axis(key: str, values: object) -> tuple[Any, ...]:
    _check_key(key, "vary", SCIENCE_KEYS | PLACEMENT_AXES)
    if not isinstance(values, list) or not values:
        raise SweepError(
            f"vary.{key}: {values!r} must be a list of values; a single value belongs under fixed."
        )
    return tuple(dict.fromkeys(_field_value(key, value, f"vary.{key}") for value in values))


def _values(mapping: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key, value in mapping.items():
        _check_key(key, where, SCIENCE_KEYS | PLACEMENT_KEYS)
        if isinstance(value, list):
            raise SweepError(f"{where}.{key}: {value!r} is a list; several values belong under vary.")
    return {key: _field_value(key, value, f"{where}.{key}") for key, value in mapping.items()}


def _rules(raw: Mapping[str, Any], key: str) -> tuple[dict[str, tuple[Any, ...]], ...]:
    return tuple(_rule(rule, f"{key}[{index}]") for index, rule in enumerate(_list_of_mappings(raw, key)))


def _rule(rule: Mapping[str, Any], where: str) -> dict[str, tuple[Any, ...]]:
    for key in rule:
        _check_key(key, where, SCIENCE_KEYS)
    lists = {key: value if isinstance(value, list) else [value] for key, value in rule.items()}
    return {
        key: tuple(_field_value(key, item, f"{where}.{key}") for item in items)
        for key, items in lists.items()
    }


def _check_key(key: str, where: str, known: frozenset[str]) -> None:
    if key in known:
        return
    if key in COMPUTED_FIELDS:
        raise SweepError(f"{where}.{key} is read from the files under data: leave it out.")
    if key in PLACEMENT_KEYS:
        raise SweepError(
            f"{where}.{key} is placement, which changes nothing that is learned: write it under fixed."
        )
    raise SweepError(f"{where}: unknown key {key!r}. {did_you_mean(key, known)}")


def _field_value(key: str, value: object, where: str) -> Any:
    if value is None:
        raise SweepError(f"{where} has no value: write one, or leave the key out.")
    try:
        return _field_type(key).validate_python(value)
    except ValidationError as error:
        raise SweepError(f"{where}: {explain(error)}") from error


@functools.cache
def _field_type(key: str) -> TypeAdapter[Any]:
    model: type[BaseModel] = Science if key in SCIENCE_KEYS else PlacementSettings
    return TypeAdapter(model.model_fields[key].rebuild_annotation())


def _section(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    for key in values:
        if key not in model.model_fields:
            raise SweepError(f"{where}: unknown key {key!r}. {did_you_mean(key, model.model_fields)}")
    try:
        return model.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        raise SweepError(f"{where}.{explain(error)}") from error
