"""Results of others as a study: the tidy table of analysis.imports through the same fits and comparison."""

from __future__ import annotations

import difflib
import math

import numpy as np
import pandas as pd

from analysis.filters import Rule, Selection
from analysis.study.study import MetricStudy, StudyOptions, study_selection


def study_results(
    results: pd.DataFrame, metric: str, options: StudyOptions = StudyOptions(), *, chance: float = math.nan
) -> MetricStudy:
    """The study of one metric of imported results; ValueError where they do not have it.

    `chance`: the score of guessing; unknown, error rates may rise to 1.
    """
    if not (math.isnan(chance) or 0 <= chance < 1):
        raise ValueError(f"chance {chance:g}: the score of guessing is a fraction, at least 0 and below 1.")
    known = sorted(set(results["metric"]))
    if metric not in known:
        near = difflib.get_close_matches(metric, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"the results have no metric {metric!r}.{hint} They have {', '.join(known)}.")
    rows = results[results["metric"] == metric].reset_index(drop=True)
    table = rows.assign(
        status="done",
        reason="",
        planned_train_flops=rows["train_flops"],
        guessing_error=1 - chance,
        scored_by=metric.partition(".")[0],
        num_evaluated=np.nan,
        **{"parameters.image_tower": rows["parameters"]},
    )
    wrong = table["error"] <= 0
    return study_selection(
        table, Selection(metric=metric, points=table[~wrong], rules=_rules(table, wrong)), options
    )


def _rules(table: pd.DataFrame, wrong: pd.Series[bool]) -> tuple[Rule, ...]:
    names = tuple(table.loc[wrong, "run_id"].astype(str))
    return (
        Rule(
            name="no error left",
            description="an error of 0 of unknown precision has no logarithm",
            run_ids=names,
        ),
    )
