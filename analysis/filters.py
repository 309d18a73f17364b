"""Which runs enter a fit, and by which named rule the others do not.  No run is dropped silently."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from analysis.load import UNREADABLE
from scaling.records import FAILURES

FAILED_STATUSES = (*sorted(FAILURES), UNREADABLE)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A reason to leave runs out, and the runs it left out."""

    name: str
    description: str
    run_ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The runs of a fit (the sweep table with `error`, `guessing_error`) and the ledger of the others."""

    metric: str
    points: pd.DataFrame
    rules: tuple[Rule, ...]


def is_loss(metric: str) -> bool:
    """Whether a metric is a loss in nats; every other metric is a fraction of which higher is better."""
    return metric.endswith(".loss")


def error_label(metric: str) -> str:
    """What is plotted for a metric, in words: "linear probe error (1 - top1)"."""
    task, _, name = metric.partition(".")
    task = task.replace("_", " ")
    if is_loss(metric):
        return "held-out loss (nats)" if task == "held out loss" else f"{task} loss (nats)"
    return f"{task} error (1 - {name})"


def select_points(table: pd.DataFrame, metric: str) -> Selection:
    """The runs that have a comparable error of `metric`; each other one under the first rule against it."""
    task = metric.partition(".")[0]
    score = _numbers(table, metric)
    error = score if is_loss(metric) else 1 - score
    seen, trained = _numbers(table, f"evaluation.{task}.samples_seen"), _numbers(
        table, "measured_samples_seen"
    )
    masks = {
        "failed": ("the run failed and has no score", table["status"].isin(FAILED_STATUSES)),
        "unfinished": ("the run is not finished", table["status"] != "done"),
        "no score": (f"the record holds no {metric}", score.isna()),
        "early score": ("evaluated before the end of its training", seen < trained),
        "no error left": ("an error of 0 has no place on a logarithmic axis", error <= 0),
    }
    open_rows, rules = pd.Series(True, index=table.index), []
    for name, (description, mask) in masks.items():
        run_ids = tuple(table.loc[open_rows & mask, "run_id"].astype(str))
        rules.append(Rule(name=name, description=description, run_ids=run_ids))
        open_rows &= ~mask
    chance = _numbers(table, f"{task}.chance")
    columns = {"error": error, "guessing_error": np.nan if is_loss(metric) else 1 - chance}
    points = table.assign(**columns)[open_rows].reset_index(drop=True)
    return Selection(metric=metric, points=points, rules=tuple(rules))


def _numbers(table: pd.DataFrame, column: str) -> pd.Series[float]:
    """A numeric column of the table; all absent if no run recorded it."""
    if column not in table:
        return pd.Series(np.nan, index=table.index, dtype=float)
    return pd.to_numeric(table[column]).astype(float)
