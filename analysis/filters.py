"""Which runs enter a fit, and by which named rule the others do not.  No run is dropped silently."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from analysis.load import UNREADABLE
from scaling.records import FAILURES

FAILED_STATUSES = (*sorted(FAILURES), UNREADABLE)
WITHOUT_SCORE = frozenset({"failed", "unfinished", "no score"})  # rules whose runs have nothing to fit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A reason to leave runs out, and the runs it left out."""

    name: str
    description: str
    run_ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The runs of a fit and the ledger of the others.

    `points`: rows of the sweep table with `error`, `guessing_error`, `scored_by` (task), `num_evaluated` (samples).
    """

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
    return f"{task} error (1 - {name})" if name else f"{task} error"


def select_points(
    table: pd.DataFrame, metric: str, *, sealed: Collection[str] = (), admitted: Collection[str] = ()
) -> Selection:
    """The runs that have a comparable error of `metric`; each other one under the first rule against it.

    `sealed`: run_ids of the holdout, while it is closed; `admitted`: names of rules that are not applied.
    """
    scores = _scores(table, metric)
    masks = {
        "sealed": ("holdout of the sweep file, not opened", table["run_id"].isin(list(sealed))),
        "failed": ("the run failed and has no score", table["status"].isin(FAILED_STATUSES)),
        "unfinished": ("the run is not finished", table["status"] != "done"),
        "no score": (f"the record holds no {metric}, or none that is finite", ~np.isfinite(scores["error"])),
        "early score": ("evaluated before the end of its training", scores.pop("is_early")),
        "no fraction": ("a score above 1 is no fraction of right answers", scores["error"] < 0),
        "no error left": ("an error of 0 of unknown precision has no logarithm", scores["error"] <= 0),
    }
    open_rows, rules = pd.Series(True, index=table.index), []
    for name, (description, mask) in masks.items():
        mask = mask & (name not in admitted)
        run_ids = tuple(table.loc[open_rows & mask, "run_id"].astype(str))
        rules.append(Rule(name=name, description=description, run_ids=run_ids))
        open_rows &= ~mask
    points = pd.concat([table, scores], axis=1)[open_rows].reset_index(drop=True)
    return Selection(metric=metric, points=points, rules=tuple(rules))


def left_out(table: pd.DataFrame, objective: str, rules: Sequence[Rule]) -> str:
    """The rules that left out runs of an objective although they have a score, in words, or ""."""
    mine = set(table.loc[table["objective"] == objective, "run_id"])
    told = [
        f"{num} under {rule.name!r} ({rule.description})"
        for rule in rules
        if rule.name not in WITHOUT_SCORE and (num := len(mine & set(rule.run_ids)))
    ]
    return f"its scored runs were left out: {', '.join(told)}" if told else ""


def _scores(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """error, guessing_error, scored_by, num_evaluated and is_early of every run.

    A run without the task is scored by the task's `_head` variant, if it has that: the scores of SuperClass's label
    head for the same images.
    """
    task, _, name = metric.partition(".")
    own, head = _numbers(table, metric), _numbers(table, f"{task}_head.{name}")
    scored_by = pd.Series(task, index=table.index).where(own.notna() | head.isna(), f"{task}_head")
    score = own.fillna(head)
    chance = _of_task(table, "{}.chance", scored_by)
    chance = chance.fillna(_of_task(table, "{}." + name + ".chance", scored_by))
    seen = _of_task(table, "evaluation.{}.samples_seen", scored_by)
    num_evaluated = _of_task(table, "evaluation.{}.num_samples", scored_by)
    return pd.DataFrame(
        {
            "error": score if is_loss(metric) else _error_rate(score, num_evaluated),
            "guessing_error": np.nan if is_loss(metric) else 1 - chance,
            "scored_by": scored_by,
            "num_evaluated": num_evaluated,
            "is_early": seen < _numbers(table, "measured_samples_seen"),
        }
    )


def _error_rate(score: pd.Series[float], num_evaluated: pd.Series[float]) -> pd.Series[float]:
    """1 - score; no error among n samples counts as half a one, which any law can come near, and is not dropped."""
    error = 1 - score
    return error.mask((error == 0) & (num_evaluated > 0), 0.5 / num_evaluated)


def _of_task(table: pd.DataFrame, column: str, scored_by: pd.Series[str]) -> pd.Series[float]:
    """A numeric column of the task that scored each run; `column` with {} for the task."""
    parts = [_numbers(table, column.format(task)).where(scored_by == task) for task in sorted(set(scored_by))]
    return pd.concat(parts, axis=1).bfill(axis=1).iloc[:, 0] if parts else pd.Series(dtype=float)


def _numbers(table: pd.DataFrame, column: str) -> pd.Series[float]:
    """A numeric column of the table; all absent if no run recorded it."""
    if column not in table:
        return pd.Series(np.nan, index=table.index, dtype=float)
    return pd.to_numeric(table[column]).astype(float)
