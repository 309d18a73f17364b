"""What varies across a sweep, and what must not: two points may differ only along a declared axis."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from scaling.placement import PLACEMENT_AXES, Placement
from scaling.sweep.science import COMPUTED_FIELDS, Science, documented_defaults
from scaling.sweep.science_rules import has_effect

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


def what_varied_in_placement(points: Sequence[tuple[Science, Placement]]) -> list[VariedField]:
    """One row per placement field in which points of one science differ: what the sweep compares."""
    rows = []
    for field in sorted(PLACEMENT_AXES):
        found = [(science.model_dump_json(), getattr(placement, field)) for science, placement in points]
        if len(set(found)) > len({science for science, _ in found}):
            rows.append(
                VariedField(
                    field=field, kind="axis", values=tuple(dict.fromkeys(value for _, value in found))
                )
            )
    return rows


def _row(field: str, points: Sequence[Science]) -> VariedField:
    values = tuple(dict.fromkeys(getattr(point, field) for point in points))
    if len(values) <= 1:
        return VariedField(field=field, kind="constant", values=values)
    return VariedField(field=field, kind="derived" if _follows(field, points) else "axis", values=values)


def _follows(field: str, points: Sequence[Science]) -> bool:
    """Whether a field differs because others do: by its default, by a file, or because it has no effect on a point."""
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


def refuse_mixed_engines(placements: Sequence[Placement], axes: Collection[str]) -> None:
    """ValueError if points train on different engines although the sweep does not compare them.

    Their losses agree to rounding, not to the bit; ZeRO stages of one engine are as close, and may differ.
    """
    engines = tuple(dict.fromkeys(placement.engine for placement in placements))
    if len(engines) > 1 and "engine" not in axes:
        raise ValueError(
            f"engine: points differ ({' and '.join(engines)}) although it is not an axis, so a comparison would "
            "mix its effect with that of others. Give every point the same, or declare it under vary: {engine: [...]}."
        )
