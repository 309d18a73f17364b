"""The runs in tables: planned and measured cost, scores, failures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.filters import FAILED_STATUSES
from analysis.load import metric_columns
from analysis.report.blocks import Cell, Column, Table, column, figure_cell, text_column, words
from analysis.report.standing import protocols
from analysis.study.tuned import objectives_of, own_axes
from analysis.wording import ABSENT, flops, num_runs, number, quantity, score, share

INHERITED = "measured_inherited_device_hours"
NOTE_ON_INHERITED = (
    " Every run counts what went into its weights. Of that, inherited device-hours were spent by another run of its "
    "trunk, from which it branched, and are spent once."
)
QUANTITIES = ("samples_seen", "warmup_samples", "global_batch")  # fields shown with decimal suffixes


def cost_table(table: pd.DataFrame) -> Table:
    """One row per run: where it stands, what was planned and what was measured."""
    axes = own_axes(table)
    is_shared = inherits(table)
    columns = (
        *_run_columns(axes),
        text_column("status"),
        *(column(name, "planned") for name in ("parameters", "samples_seen", "train FLOPs", "device-hours")),
        *(column(name, "measured") for name in ("samples_seen", "train FLOPs", "device-hours", "x planned")),
        *((column("inherited device-hours", "measured"),) if is_shared else ()),
        *(column(name, "measured") for name in ("samples/s", "peak memory (GB)", "attempts")),
    )
    return Table(
        caption="Runs: planned and measured",
        columns=columns,
        rows=tuple(_cost_row(run, axes, is_shared=is_shared) for run in in_order(table)),
        note=(
            "Training FLOPs are model FLOPs, 2 per multiply-add, forward and backward, of everything that is trained, "
            "without recomputation. Measured ones are those of one sample times the samples that were counted. A dash "
            "is a number that was not recorded." + (NOTE_ON_INHERITED if is_shared else "")
        ),
    )


def inherits(table: pd.DataFrame) -> bool:
    """Whether a run branched from another of its trunk, so that what went into both was spent once."""
    return INHERITED in table and bool((table[INHERITED] > 0).any())


def _cost_row(run: Mapping[str, Any], axes: Sequence[str], *, is_shared: bool) -> tuple[Cell, ...]:
    planned_hours, hours = value_of(run, "planned_device_hours"), value_of(run, "measured_device_hours")
    ratio = hours / planned_hours if planned_hours else float("nan")
    numbers = (
        (quantity, value_of(run, "parameters")),
        (quantity, value_of(run, "samples_seen")),
        (flops, value_of(run, "planned_train_flops")),
        (number, planned_hours),
        (quantity, value_of(run, "measured_samples_seen")),
        (flops, value_of(run, "train_flops")),
        (number, hours),
        (number, ratio),
        *(((number, value_of(run, INHERITED)),) if is_shared else ()),
        (number, value_of(run, "measured_samples_per_second")),
        (number, value_of(run, "measured_peak_memory_bytes") / 1e9),
        (quantity, value_of(run, "measured_attempts")),
    )
    return (
        *_run_cells(run, axes),
        words(str(run["status"])),
        *(figure_cell(text(value), value) for text, value in numbers),
    )


def score_table(table: pd.DataFrame, sealed: Collection[str] = ()) -> Table:
    """One row per run and one column per kind of score; a task and its `_head` variant share a column.

    Runs of a closed holdout say so in the place of every score.
    """
    families: dict[str, list[str]] = {}
    for metric in metric_columns(table):
        families.setdefault(metric.replace("_head.", "."), []).append(metric)
    axes = own_axes(table)
    columns = [*_run_columns(axes)]
    for members in families.values():
        tasks = " / ".join(member.partition(".")[0] for member in members)
        name = members[0].partition(".")[2].replace("_recall_at_", " R@").replace("_", " ")
        columns.append(column(name, tasks))
    rows = [
        (*_run_cells(run, axes), *(_score_cell(run, members, sealed) for members in families.values()))
        for run in in_order(table)
    ]
    measured = "; ".join(f"{task}: {', '.join(names)}" for task, names in protocols(table).items())
    return Table(
        caption="Scores of the runs",
        columns=tuple(columns),
        rows=tuple(rows),
        note=(
            "Fractions between 0 and 1, losses in nats; a dash: not recorded, or sealed. "
            "zero_shot and retrieval use a text tower, zero_shot_head and "
            f"retrieval_head the scores of the label head.{f' Protocols: {measured}.' if measured else ''}"
        ),
    )


def _score_cell(run: Mapping[str, Any], members: Sequence[str], sealed: Collection[str]) -> Cell:
    if run["run_id"] in sealed:
        return figure_cell("sealed", None)
    for member in members:
        if not pd.isna(run[member]):
            return figure_cell(score(member, float(run[member])), float(run[member]))
    return figure_cell(ABSENT, None)


def failure_table(table: pd.DataFrame) -> Table:
    """One row per failed run: the type of the failure and its reason."""
    failed = [run for run in in_order(table) if run["status"] in FAILED_STATUSES]
    rows = [
        (
            words(str(run["run_id"])),
            words(str(run["status"])),
            words(str(run["reason"]) or "no reason recorded"),
            figure_cell(share(value_of(run, "progress")), value_of(run, "progress")),
        )
        for run in failed
    ]
    return Table(
        caption="Failed runs",
        columns=(text_column("run"), text_column("failure"), text_column("reason"), column("progress")),
        rows=tuple(rows),
        note="Failed runs are drawn hollow; the ledger tells what they do to the conclusion.",
    )


def warnings_of(table: pd.DataFrame) -> list[str]:
    """A sentence per warning in a record, and per rollback, each with its run."""
    found = []
    for run in in_order(table) if "faults.warnings" in table else []:
        if run["status"] != "done":
            continue
        sentences = run["faults.warnings"].splitlines()
        if run["faults.num_rollbacks"]:
            sentences.append(
                f"Rolled back {_times(int(run['faults.num_rollbacks']))} from a loss or gradient that was not finite; "
                f"steps whose batch was left out: {run['faults.skipped_batches'] or 'none'}."
            )
        found += [f"{run['run_id']}: {sentence}" for sentence in sentences]
    return found


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def counts_of(table: pd.DataFrame, num_not_started: int = 0) -> str:
    """How many runs there are, those that are planned alone included, and where they stand: "18 runs: 18 done."."""
    counts = [f"{count} {status}" for status, count in table["status"].value_counts().items()]
    counts += [f"{num_not_started} not started"] if num_not_started else []
    return f"{num_runs(len(table) + num_not_started)}: {', '.join(counts) or 'none yet'}."


def in_order(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Runs by objective (studied one first), then small to large."""
    keys = [name for name in ("planned_train_flops", "samples_seen", "run_id") if name in table]
    rows = table.sort_values(keys).to_dict("records")
    order = objectives_of(table)
    rows.sort(key=lambda run: order.index(run["objective"]) if run.get("objective") in order else len(order))
    return [{str(key): value for key, value in run.items()} for run in rows]


def field_text(field: str, value: Any) -> str:
    """A value of a science field as people read it."""
    return quantity(value) if field in QUANTITIES and isinstance(value, (int, float)) else str(value)


def value_of(run: Mapping[str, Any], name: str) -> float:
    """A recorded number, NaN where it is absent."""
    return float(run.get(name, float("nan")))


def _run_columns(axes: Sequence[str]) -> tuple[Column, ...]:
    return (text_column("run"), *(text_column(axis) for axis in axes))


def _run_cells(run: Mapping[str, Any], axes: Sequence[str]) -> list[Cell]:
    """The run and the values of the axes that its name does not tell."""
    return [words(str(run["run_id"])), *(words(field_text(axis, run[axis])) for axis in axes)]
