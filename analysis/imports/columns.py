"""One column of a study from a raw table; every complaint names file, column, row, value, rule and fix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.forms.form import Floats
from analysis.imports.mapping import Column, did_you_mean


def raw_column(table: pd.DataFrame, name: str, path: Path) -> pd.Series[Any]:
    """A column as it stands; ValueError with the nearest name."""
    if name not in table:
        raise ValueError(f"{path}: no column {name!r}{did_you_mean(name, table.columns)}.")
    return table[name]


def text_column(table: pd.DataFrame, column: Column, path: Path) -> list[str]:
    """Text of each row: the columns joined by "-", or what the first matching pattern stands for."""
    parts = [raw_column(table, name, path) for name in column.column]
    for name, part in zip(column.column, parts, strict=True):
        if part.isna().any():
            raise ValueError(f"{path}: column {name!r} is empty in {_row(part.isna())}; every run needs one.")
    texts = ["-".join(map(str, row)) for row in zip(*parts, strict=True)]
    return [_matched(text, column, path) for text in texts] if column.match else texts


def _matched(text: str, column: Column, path: Path) -> str:
    for pattern, value in column.match.items():
        found = re.search(pattern, text)
        if found:
            return found.expand(value)
    raise ValueError(
        f"{path}: {text!r} of column {column.column[0]!r} matches none of {list(column.match)}; add a pattern."
    )


def number_column(
    table: pd.DataFrame,
    name: str,
    path: Path,
    *,
    scale: float = 1.0,
    positive: bool = True,
    absent: bool = False,
) -> Floats:
    """Numbers [rows] x scale; ValueError for text, and, as told, for values that are not positive or are absent."""
    raw = raw_column(table, name, path)
    number_N = pd.to_numeric(raw, errors="coerce").to_numpy(dtype=np.float64) * scale
    unread = np.isnan(number_N) & ~raw.isna().to_numpy()
    if unread.any():
        raise ValueError(f"{path}: column {name!r}, {_told(raw, unread)} is not a number; correct it.")
    if not absent and np.isnan(number_N).any():
        rows = _row(np.isnan(number_N))
        raise ValueError(
            f"{path}: column {name!r} is empty in {rows}; every run needs one, or leave it out (where)."
        )
    wrong = (number_N <= 0) | np.isinf(number_N) if positive else np.isinf(number_N)
    if wrong.any():
        rule = "positive and finite" if positive else "finite"
        raise ValueError(
            f"{path}: column {name!r}, {_told(raw, wrong)} is not {rule}; correct it or leave it out."
        )
    return number_N


def chosen_rows(table: pd.DataFrame, where: Mapping[str, Any], path: Path) -> pd.DataFrame:
    """The rows that meet every filter; ValueError names the filter that leaves none."""
    for name, wanted in where.items():
        column = raw_column(table, name, path)
        if isinstance(wanted, Mapping):
            if set(wanted) != {"equals"}:
                raise ValueError(
                    f"{path}: filter of {name!r} is {dict(wanted)}; write a value, a list or equals."
                )
            other = str(wanted["equals"])
            kept = table[_same(column, raw_column(table, other, path))]
            reason = f"equals {other!r} in no row"
        else:
            values = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]
            kept = table[column.isin(values)]
            present = [str(value) for value in column.dropna().unique()[:20]]
            reason = f"is {' or '.join(map(repr, values))} in no row{did_you_mean(str(values[0]), present)}"
        if kept.empty:
            raise ValueError(f"{path}: column {name!r} {reason}; change the filter (where).")
        table = kept
    return table


def _same(one: pd.Series[Any], other: pd.Series[Any]) -> pd.Series[Any]:
    """Equal as numbers where both are, else as text."""
    numbers = pd.to_numeric(one, errors="coerce"), pd.to_numeric(other, errors="coerce")
    return (numbers[0] == numbers[1]) | (one.astype(str) == other.astype(str))


def _told(raw: pd.Series[Any], mask: Any) -> str:
    rows = np.flatnonzero(mask)
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    value = raw.iloc[rows[0]]
    return f"{repr(value) if isinstance(value, str) else value} in {_row(mask)}{more}"


def _row(mask: Any) -> str:
    return f"row {int(np.flatnonzero(mask)[0]) + 1}"
