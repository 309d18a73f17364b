"""The studies of a sweep folder, its holdout sealed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from analysis.load import load_sweep, read_plan
from analysis.selection.holdout import blinded, sealed_runs
from analysis.study.metrics import check_recorded, metrics_of
from analysis.study.study import MetricStudy, StudyOptions, study_metric


def study_sweep(
    folder: Path, metric: str | None = None, options: StudyOptions = StudyOptions()
) -> Mapping[str, MetricStudy]:
    """The study of one metric of runs/<sweep>, or of every one that compares.

    ValueError where there is no folder, or where its runs recorded other metrics only.
    """
    table, sealed = load_sweep(folder), sealed_runs(folder, read_plan(folder).holdout)
    options = dataclasses.replace(options, sealed=sealed)
    if metric is not None:
        check_recorded(table, metric)
    table = blinded(table, sealed)
    names = metrics_of(table, metric, options.between)[: None if metric is None else 1]
    return {name: study_metric(table, name, options) for name in names}
