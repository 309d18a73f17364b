"""A sweep file as plain values: YAML read strictly, `--set` overrides laid over it, nothing typed yet."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from pathlib import Path
from typing import Any

import yaml

from scaling.suggest import did_you_mean

SECTIONS = ("data", "evaluate")  # whose keys an override names with a dot: data.train=DIR


class SweepError(ValueError):
    """Something in a sweep that its author can put right; the text says where and how."""


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe subset, with a repeated or non-text key an error instead of a silent choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if key_node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise SweepError(f"line {line}: key {key!r} is not plain text: put it in quotes.")
            if key in seen:
                raise SweepError(f"line {line}: key {key!r} is written twice in one place: keep one of them.")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; SweepError with the line if it is not YAML or repeats a key."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise SweepError(f"{line}not YAML ({error.problem}).") from error
    except yaml.YAMLError as error:
        raise SweepError(f"not YAML ({error}).") from error


def read_sweep_file(path: Path) -> dict[str, Any]:
    """The top-level mapping of a sweep file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = [str(file) for file in sorted(path.parent.glob("*.yaml"))]
        hint = f" {did_you_mean(path, siblings)}" if siblings else ""
        raise SweepError(f"{path}: no such sweep file.{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"{path}: cannot be read as text ({error}).") from error
    try:
        raw = parse_yaml(text)
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from error.__cause__
    if not isinstance(raw, dict):
        raise SweepError(f"{path}: a sweep is a mapping of keys such as name, question, vary and fixed.")
    return raw


def apply_override(
    raw: dict[str, Any], override: str, *, top_level: Collection[str], fields: Collection[str]
) -> None:
    """Lay one "key=value" of --set over the sweep: a field becomes fixed, or an axis if the value is a list.

    A field so set holds for every point: it is dropped from wherever the file had it, and extra points
    (`also`) that name a field overridden by a list are left out.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SweepError(f"--set {override}: write key=value, for example samples_seen=2K or data.train=DIR.")
    try:
        value = parse_yaml(text)
    except SweepError as error:
        raise SweepError(f"--set {override}: {error}") from error
    section, dot, inner = key.partition(".")
    if dot and section in SECTIONS and isinstance(raw.get(section), dict | None):
        raw[section] = _with_entry(raw.get(section) or {}, inner, value)
    elif key == "seed":
        raw["seeds"] = value if isinstance(value, list) else [value]
    elif key in fields:
        _set_field(raw, key, value)
    elif key in top_level:
        raw[key] = value
    else:
        raise SweepError(f"--set {override}: unknown key {key!r}. {did_you_mean(key, [*fields, *top_level])}")


def _with_entry(mapping: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """The mapping with the value at a key that may reach into an inner mapping: vocabularies.words."""
    outer, dot, inner = key.partition(".")
    if dot and isinstance(mapping.get(outer), dict | None):
        return {**mapping, outer: _with_entry(mapping.get(outer) or {}, inner, value)}
    return {**mapping, key: value}


def _set_field(raw: dict[str, Any], key: str, value: object) -> None:
    target = "vary" if isinstance(value, list) else "fixed"
    extra = raw.get("also")
    if isinstance(extra, list):
        drops = isinstance(value, list)
        kept = [point for point in extra if not (drops and isinstance(point, dict) and key in point)]
        raw["also"] = [_without(point, key) for point in kept]
    for place in ("vary", "fixed"):
        raw[place] = _without(raw.get(place) or {}, key)
    if isinstance(raw[target], dict):
        raw[target][key] = value


def _without(mapping: object, key: str) -> Any:
    if not isinstance(mapping, dict):
        return mapping  # reported when the sweep is typed
    return {name: value for name, value in mapping.items() if name != key}
