"""The metrics of a sweep that are studied."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pandas as pd

from analysis.filters import is_loss
from analysis.load import metric_columns
from analysis.study.tuned import objectives_of

LOSS = "held_out_loss.loss"
PREFERRED = "linear_probe.top1"  # the metric of the answer, where none is asked for and runs have it


def metrics_of(
    table: pd.DataFrame, asked: str | None = None, between: Sequence[str] | None = None
) -> list[str]:
    """The metrics that are studied: the asked one, the held-out loss, and every error rate that both objectives have.

    Of recalls at several ranks only the most forgiving one is studied; the table of scores holds all.  Without `asked`
    the first is PREFERRED, else the first error rate that was recorded, else the held-out loss.
    """
    recorded = recorded_metrics(table)
    rates = [
        name for name in recorded if not is_loss(name) and not name.endswith(("_recall_at_1", "_recall_at_5"))
    ]
    losses = [name for name in recorded if is_loss(name)]
    shared = [name for name in rates if _both_have(table, name, between)]
    first = asked or next(iter([PREFERRED] * (PREFERRED in rates) + shared + rates + losses), PREFERRED)
    return list(dict.fromkeys([first, *([LOSS] if LOSS in losses else []), *shared]))


def recorded_metrics(table: pd.DataFrame) -> list[str]:
    """Every metric that some finished run recorded; a task and its `_head` variant are one."""
    return list(dict.fromkeys(name.replace("_head.", ".") for name in metric_columns(table)))


def check_recorded(table: pd.DataFrame, metric: str) -> None:
    """ValueError where runs recorded metrics, but not this one; nothing is wrong while none has recorded any."""
    known = recorded_metrics(table)
    if not known or metric in {*known, *metric_columns(table)}:
        return
    near = difflib.get_close_matches(metric, known, n=1)
    raise ValueError(
        f"metric {metric!r}: no finished run recorded it.{f' Did you mean {near[0]!r}?' if near else ''} Recorded: "
        f"{', '.join(known)}."
    )


def _both_have(table: pd.DataFrame, metric: str, between: Sequence[str] | None) -> bool:
    """Whether both objectives have scores, of the task or of its variant for label heads."""
    task, _, name = metric.partition(".")
    columns = [column for column in (metric, f"{task}_head.{name}") if column in table]
    compared = between or objectives_of(table)[:2]
    return len(compared) > 1 and all(
        table.loc[table["objective"] == name, columns].notna().any(axis=None) for name in compared
    )
