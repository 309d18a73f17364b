"""Foreign results as the tidy table of a study: one row per run and metric."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.forms.form import Floats
from analysis.imports.columns import chosen_rows, number_column, raw_column, text_column
from analysis.imports.conventions import CONVENTIONS
from analysis.imports.mapping import Column, Metric, ResultsMapping, read_mapping
from analysis.imports.raw_tables import raw_table
from scaling.units import parse_quantity

TIDY_COLUMNS = (
    "objective",
    "image_tower",
    "samples_seen",
    "parameters",
    "train_flops",
    "error",
    "metric",
    "seed",
    "run_id",
    "compute_convention",
)
TEXT_COLUMNS = ("objective", "image_tower", "run_id")
COMPUTE_TOLERANCE = 0.01  # total compute and compute per sample x samples seen, relatively


def import_results(
    path: str | Path,
    mapping: str | Path | ResultsMapping,
    *,
    profile: str | Path | None = None,
    values: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """One row per run and metric: TIDY_COLUMNS and what the mapping keeps; train_flops are training FLOPs.

    `mapping` is a builtin name (laion_openclip, laion_comparison, open_clip), a YAML file or a mapping; `profile`
    replaces the path of its table of towers, `values` fixes columns for all rows. What the results do not say is
    absent (NaN). ValueError names file, column, value, rule and fix.
    """
    path = Path(path)
    mapping = mapping if isinstance(mapping, ResultsMapping) else read_mapping(mapping)
    mapping = mapping.with_values(values) if values else mapping
    raw = raw_table(path, mapping, None if profile is None else Path(profile))
    raw = chosen_rows(raw, mapping.where, path).reset_index(drop=True)
    parts = [
        _tidy(rows, name, metric, mapping, path)
        for template, metric in mapping.metrics.items()
        for name, rows in _metric_rows(raw, template, metric, path)
    ]
    if not parts:
        columns = [metric.column for metric in mapping.metrics.values()]
        raise ValueError(f"{path}: none of the metrics' columns {columns}; it has {', '.join(raw.columns)}.")
    tidy = pd.concat(parts, ignore_index=True)
    _refuse_repeated(tidy, path)
    return tidy


def compute_axis_label(table: pd.DataFrame) -> str:
    """The label of an axis of train_flops; ValueError if the rows count compute in several ways."""
    conventions = sorted(set(table["compute_convention"]))
    if len(conventions) != 1:
        raise ValueError(
            f"compute is counted in {len(conventions)} ways on one axis: {'; '.join(conventions)}."
        )
    return f"training compute ({conventions[0]})"


def _metric_rows(
    raw: pd.DataFrame, template: str, metric: Metric, path: Path
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and rows of each metric of a template, "{dataset}.top1": those that have a score."""
    if metric.optional and metric.column not in raw:
        return
    rows = chosen_rows(raw, metric.where, path)
    rows = rows[~raw_column(rows, metric.column, path).isna()]
    if rows.empty and metric.optional:
        return
    if rows.empty:
        raise ValueError(
            f"{path}: column {metric.column!r} has no value for metric {template!r}; leave it out."
        )
    names = re.findall(r"{(.*?)}", template)
    for name in names:
        raw_column(rows, name, path)
    if not names:
        yield template, rows
        return
    for values, group in rows.groupby(names):
        yield template.format_map(dict(zip(names, map(str, values), strict=True))), group


def _tidy(rows: pd.DataFrame, name: str, metric: Metric, mapping: ResultsMapping, path: Path) -> pd.DataFrame:
    tidy = pd.DataFrame(index=rows.index)
    for key in ("objective", "image_tower", "samples_seen", "parameters", "seed"):
        tidy[key] = _study_column(rows, key, mapping, path)
    tidy["train_flops"] = _train_flops(rows, tidy["samples_seen"].to_numpy(), mapping, path)
    tidy["error"] = _error(rows, metric, path)
    tidy["metric"] = name
    if "run_id" in mapping.columns:
        tidy["run_id"] = text_column(rows, mapping.columns["run_id"], path)
    else:
        known = [tidy[key].astype(str) for key in ("objective", "image_tower", "samples_seen", "seed")]
        tidy["run_id"] = ["-".join(parts) for parts in zip(*known, strict=True)]
    tidy["compute_convention"] = CONVENTIONS[mapping.compute.convention].label
    kept = {column: raw_column(rows, column, path) for column in mapping.keep}
    return tidy[list(TIDY_COLUMNS)].assign(**kept)


def _study_column(rows: pd.DataFrame, key: str, mapping: ResultsMapping, path: Path) -> Any:
    if key in mapping.values:
        value = mapping.values[key]
        return str(value) if key in TEXT_COLUMNS else float(parse_quantity(value))
    column = mapping.columns.get(key)
    if column is None:
        return np.nan
    if key in TEXT_COLUMNS:
        return text_column(rows, column, path)
    return _numbers(rows, key, column, path)


def _numbers(rows: pd.DataFrame, key: str, column: Column, path: Path) -> Floats:
    if len(column.column) != 1 or column.match:
        raise ValueError(f"{path}: {key} is a number: give it one column and no match, not {column}.")
    return number_column(rows, column.column[0], path, scale=column.scale, positive=key != "seed")


def _train_flops(rows: pd.DataFrame, samples_N: Floats, mapping: ResultsMapping, path: Path) -> Floats:
    compute, factor = mapping.compute, CONVENTIONS[mapping.compute.convention].train_flops
    total_N = None if compute.total is None else number_column(rows, compute.total, path)
    if compute.per_sample is None:
        assert total_N is not None  # a mapping names one of the two
        return factor * total_N
    product_N = number_column(rows, compute.per_sample, path) * samples_N
    if total_N is None:
        return factor * product_N
    apart = np.abs(product_N / total_N - 1) > COMPUTE_TOLERANCE
    if apart.any():
        row = int(np.flatnonzero(apart)[0])
        raise ValueError(
            f"{path}: column {compute.total!r} is {total_N[row]:g} in row {row + 1}, but {compute.per_sample!r} x "
            f"samples_seen is {product_N[row]:g}; check units and scale, or name one of the columns only."
        )
    return factor * total_N


def _error(rows: pd.DataFrame, metric: Metric, path: Path) -> Floats:
    value_N = number_column(rows, metric.column, path, scale=metric.scale, positive=metric.kind == "loss")
    if metric.kind == "loss":
        return value_N
    outside = (value_N < 0) | (value_N > 1)
    if outside.any():
        hint = "set scale: 0.01 for percent" if value_N.max() > 1 else "check the column"
        raise ValueError(
            f"{path}: column {metric.column!r} x scale is {value_N[outside][0]:g}; an {metric.kind} is between 0 "
            f"and 1: {hint}."
        )
    return 1 - value_N if metric.kind == "accuracy" else value_N


def _refuse_repeated(tidy: pd.DataFrame, path: Path) -> None:
    repeated = tidy.duplicated(["run_id", "metric"])
    if repeated.any():
        first = tidy[repeated].iloc[0]
        raise ValueError(
            f"{path}: run_id {first['run_id']!r} has several rows of {first['metric']!r}; add a column that tells "
            "them apart to run_id, or leave the others out, for instance where: {epoch: {equals: total_epochs}}."
        )
