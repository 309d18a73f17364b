"""The holdout of a sweep as a page tells it: sealed, or opened by whom and when, predicted against measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.filters import select_points
from analysis.selection.holdout import Opening, openings, predicted_and_measured, sealed_runs
from analysis.study.points import observations_of
from analysis.study.study import MetricStudy, StudyOptions, study_metric


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Holdout:
    """The runs that a plan set aside, and what became of them."""

    run_ids: tuple[str, ...]
    sealed: frozenset[str]  # those that no opening on record names
    finished: tuple[str, ...]  # those with a record
    openings: tuple[Opening, ...]
    predictions: Mapping[str, pd.DataFrame]  # by objective, of opened runs, by laws that never saw them


def holdout_of(folder: Path, run_ids: Sequence[str], table: pd.DataFrame) -> Holdout:
    """The holdout of a sweep folder, without predictions."""
    done = set(table.loc[table["status"] == "done", "run_id"])
    return Holdout(
        run_ids=tuple(run_ids),
        sealed=sealed_runs(folder, run_ids),
        finished=tuple(run_id for run_id in run_ids if run_id in done),
        openings=openings(folder),
        predictions={},
    )


def with_predictions(holdout: Holdout, study: MetricStudy, options: StudyOptions) -> Holdout:
    """The holdout with what laws fitted to all other runs predict of the opened ones."""
    opened = [run_id for run_id in holdout.run_ids if run_id not in holdout.sealed]
    if not opened:
        return holdout
    apart = dataclasses.replace(options, sealed=frozenset(holdout.run_ids))
    blind = study_metric(study.table, study.metric, apart)
    points = select_points(study.table, study.metric, sealed=holdout.sealed).points
    points = points[points["run_id"].isin(opened)]
    predictions = {}
    for name, side in blind.sides.items():
        mine = points[points["objective"] == name].reset_index(drop=True)
        if len(mine) and side.fit is not None and side.fit.law is not None:
            predictions[name] = predicted_and_measured(side.fit, observations_of(mine, study.metric))
    return dataclasses.replace(holdout, predictions=predictions)
