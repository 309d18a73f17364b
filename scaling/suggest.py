"""Messages for errors: suggestions for a mistyped name, and pydantic's findings in plain words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

# pydantic's kind of finding -> our words and the key of the bound in its context
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def did_you_mean(name: object, known: Iterable[str], *, and_all: bool = False) -> str:
    """To append to "unknown ...": the nearest known name, or all of them if none is near; or both."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    sentences = [f"Did you mean {near[0]!r}?"] if near else []
    if and_all or not near:
        sentences.append(f"Known: {', '.join(names)}.")
    return " ".join(sentences)


def explain(error: ValidationError) -> str:
    """The findings of a validation, "key: what is wrong" each, joined by "; "."""
    return "; ".join(_finding(dict(item)) for item in error.errors(include_url=False))


def _finding(item: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in item["loc"] if not str(part).startswith("function-"))
    return f"{place}: {_rule(item)}" if place else _rule(item)


def _rule(item: Mapping[str, Any]) -> str:
    kind, value, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        words, limit = _BOUNDS[kind]
        return f"{value!r} must be {words} {context[limit]}"
    if kind == "literal_error":
        return _literal_rule(value, str(context["expected"]))
    if kind.startswith("int_"):
        return f"{value!r} is not a whole number"
    if kind.startswith("float_") or kind == "finite_number":
        return f"{value!r} is not a number"
    if kind.startswith("bool_"):
        return f"{value!r} is not true or false"
    if kind.startswith("path_"):
        return f"{value!r} is not a path"
    if kind.startswith("string_"):
        return f"{value!r} is not text"
    return f"{value!r}: {item['msg']}"


def _literal_rule(value: object, expected: str) -> str:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    if len(choices) == 1:
        return f"{value!r} is not available: the only choice is {choices[0]}."
    near = difflib.get_close_matches(str(value), choices, n=1)
    return f"{value!r} is not one of {', '.join(choices)}." + (f" Did you mean {near[0]!r}?" if near else "")
