"""What varies across a sweep, and what must not: two points may differ only along a declared axis."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from scaling.science import COMPUTED_FIELDS, Science, documented_defaults
from scaling.science_rules import has_effect

FOLLOWS_DEFAULTS = frozenset({"text_tower", "pooling", "idf", "classification_loss", "logit_scale_init"})
"""Fields whose documented default depends on others, so that they may follow an axis without being one."""

FOLLOWS_FILES = COMPUTED_FIELDS - {"data_digest"}
"""Fields read from files that the tokenizer and the IDF mode choose: they differ only where those do."""

KINDS = ("axis", "derived", "constant")


class VariedField(BaseModel):
    """One row of the "what varied" table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    kind: Literal["axis", "derived", "constant"]  # declared; following an axis by default; equal everywhere
    values: tuple[Any, ...]  # in order of appearance


def what_varied(points: Sequence[Science]) -> list[VariedField]:
    """One row per science field: axes first, then what follows from them, then what never changes."""
    rows = [_row(field, points) for field in Science.model_fields]
    return sorted(rows, key=lambda row: KINDS.index(row.kind))


def _row(field: str, points: Sequence[Science]) -> VariedField:
    values = tuple(dict.fromkeys(getattr(point, field) for point in points))
    if len(values) <= 1:
        return VariedField(field=field, kind="constant", values=values)
    return VariedField(field=field, kind="derived" if _follows(field, points) else "axis", values=values)


def _follows(field: str, points: Sequence[Science]) -> bool:
    """Whether a field that differs does so because of others: by default, by file, or for want of an effect."""
    if field in FOLLOWS_FILES:
        return True
    with_effect = [values for point in points if has_effect(field, values := point.model_dump())]
    if len({values[field] for values in with_effect}) <= 1:
        return True
    return field in FOLLOWS_DEFAULTS and all(
        values[field] == documented_defaults(values)[field] for values in with_effect
    )


def refuse_confounds(points: Sequence[Science], axes: Collection[str]) -> None:
    """ValueError naming the first field in which two points differ although the sweep does not vary it."""
    for row in what_varied(points):
        if row.kind == "axis" and row.field not in axes:
            values = " and ".join(str(value) for value in row.values)
            raise ValueError(
                f"{row.field}: points differ ({values}) although it is not an axis, so a comparison would "
                f"mix its effect with that of {', '.join(sorted(axes))}. Give every point the same value, or "
                f"declare it under vary: {{{row.field}: [...]}}."
            )
