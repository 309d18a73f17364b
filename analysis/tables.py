"""The tables of the report as text: headings and rows, every cell made from a recorded value."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.load import metric_columns
from analysis.old_study import MetricStudy, ObjectiveLaw, objectives_of, own_axes
from analysis.uncertainty import PARAMETERS
from analysis.wording import ABSENT, flops, number, quantity, score, share, with_interval

QUANTITIES = ("samples_seen", "warmup_samples", "global_batch")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Headings (group, name) and rows of text; a group spans its neighbouring names, "" stands alone."""

    headings: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """(group, number of columns) from left to right."""
        return [
            (name, len(list(part))) for name, part in itertools.groupby(group for group, _ in self.headings)
        ]


def cost_table(table: pd.DataFrame) -> Table:
    """One row per run: where it stands, what was planned and what was measured."""
    axes = own_axes(table)
    headings = (
        *(("", name) for name in ("run", *axes, "status")),
        *(("planned", name) for name in ("parameters", "samples_seen", "train FLOPs", "device-hours")),
        *(("measured", name) for name in ("samples_seen", "train FLOPs", "device-hours", "x planned")),
        *(("measured", name) for name in ("samples/s", "peak memory (GB)", "attempts")),
    )
    return Table(headings=headings, rows=tuple(_cost_row(run, axes) for run in in_order(table)))


def _axis_cells(run: Mapping[str, Any], axes: Sequence[str]) -> list[str]:
    """The values of the axes that a run's name does not tell."""
    return [_field_text(axis, run[axis]) for axis in axes]


def _cost_row(run: Mapping[str, Any], axes: Sequence[str]) -> tuple[str, ...]:
    planned_hours, hours = _value(run, "planned_device_hours"), _value(run, "measured_device_hours")
    return (
        str(run["run_id"]),
        *_axis_cells(run, axes),
        f"{run['status']}: {run['reason']}" if run["reason"] else str(run["status"]),
        quantity(_value(run, "parameters")),
        quantity(_value(run, "samples_seen")),
        flops(_value(run, "planned_train_flops")),
        number(planned_hours),
        quantity(_value(run, "measured_samples_seen")),
        flops(_value(run, "train_flops")),
        number(hours),
        number(hours / planned_hours if planned_hours else float("nan"), 2),
        number(_value(run, "measured_samples_per_second")),
        number(_value(run, "measured_peak_memory_bytes") / 1e9),
        number(_value(run, "measured_attempts"), 1),
    )


def score_table(table: pd.DataFrame) -> Table:
    """One row per run and one column per kind of score; a task and its `_head` variant share a column."""
    families: dict[str, list[str]] = {}
    for metric in metric_columns(table):
        families.setdefault(metric.replace("_head.", "."), []).append(metric)
    axes = own_axes(table)
    headings = [("", name) for name in ("run", *axes)]
    for members in families.values():
        tasks = " / ".join(member.partition(".")[0] for member in members)
        headings.append((tasks, members[0].partition(".")[2].replace("_recall_at_", " R@").replace("_", " ")))
    rows = []
    for run in in_order(table):
        cells = []
        for members in families.values():
            present = [score(member, float(run[member])) for member in members if not pd.isna(run[member])]
            cells.append(present[0] if present else ABSENT)
        rows.append((str(run["run_id"]), *_axis_cells(run, axes), *cells))
    return Table(headings=tuple(headings), rows=tuple(rows))


def fit_table(studies: Iterable[MetricStudy]) -> Table:
    """One row per metric and objective: the law with intervals and the evidence for it."""
    names = ("metric", "objective", "status", *PARAMETERS, "reference FLOPs", "runs")
    evidence = ("cells", "explained", "gradient", "starts agreeing", "refits failed")
    rows: list[tuple[str, ...]] = []
    for study in studies:
        rows += [(study.metric, law.objective, *_fit_cells(law)) for law in study.laws.values()]
    headings = (*(("", name) for name in names), *(("evidence", name) for name in evidence))
    return Table(headings=headings, rows=tuple(rows))


def _fit_cells(law: ObjectiveLaw) -> tuple[str, ...]:
    fit, bootstrap = law.fit, law.bootstrap
    return (
        f"{fit.status.value}: {fit.reason}" if fit.reason else fit.status.value,
        *(with_interval(law, name) for name in PARAMETERS),
        flops(fit.law.reference_compute) if fit.law else ABSENT,
        str(fit.num_points),
        str(bootstrap.num_cells) if bootstrap else ABSENT,
        share(fit.explained_share),
        ABSENT if fit.gradient_norm is None else f"{fit.gradient_norm:.0e}",
        share(fit.starts_agreeing),
        share(bootstrap.failed_share if bootstrap else None),
    )


def ledger_table(studies: Iterable[MetricStudy]) -> Table:
    """How many runs entered each fit, and under which rule the others did not."""
    rows: list[tuple[str, ...]] = []
    for study in studies:
        rows.append((study.metric, "used in the fit", str(len(study.selection.points)), ""))
        for rule in (rule for rule in study.selection.rules if rule.run_ids):
            why, which = f"{rule.name}: {rule.description}", ", ".join(rule.run_ids)
            rows.append((study.metric, why, str(len(rule.run_ids)), which))
    return Table(headings=tuple(("", name) for name in ("metric", "rule", "runs", "which")), rows=tuple(rows))


def environment_table(table: pd.DataFrame) -> Table:
    """Versions and devices of the finished runs; several values mean that the runs did not share them."""
    rows = []
    for column in (name for name in table.columns if name.startswith("environment.")):
        counts = table[column].value_counts()
        shared = len(counts) == 1
        text = [str(value) if shared else f"{value} ({count} runs)" for value, count in counts.items()]
        rows.append((column.removeprefix("environment."), ", ".join(text)))
    return Table(headings=(("", "name"), ("", "value")), rows=tuple(rows))


def varied_table(varied: Sequence[Mapping[str, Any]], *, constant: bool) -> Table:
    """The rows of a "what varied" list that are constant, or those that are not."""
    rows = []
    for row in varied:
        if (row["kind"] == "constant") != constant:
            continue
        values = row["values"] if isinstance(row["values"], (list, tuple)) else [row["values"]]
        text = ", ".join(_field_text(str(row["field"]), value) for value in values)
        rows.append((str(row["field"]), *(() if constant else (str(row["kind"]),)), text))
    names = ("field", "value") if constant else ("field", "kind", "values")
    return Table(headings=tuple(("", name) for name in names), rows=tuple(rows))


def in_order(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Runs by objective (studied one first), then small to large."""
    keys = [name for name in ("planned_train_flops", "samples_seen", "run_id") if name in table]
    rows = table.sort_values(keys).to_dict("records")
    order = objectives_of(table)
    rows.sort(key=lambda run: order.index(run["objective"]) if run.get("objective") in order else len(order))
    return [{str(key): value for key, value in run.items()} for run in rows]


def _field_text(field: str, value: Any) -> str:
    return quantity(value) if field in QUANTITIES and isinstance(value, (int, float)) else str(value)


def _value(run: Mapping[str, Any], column: str) -> float:
    return float(run.get(column, float("nan")))
