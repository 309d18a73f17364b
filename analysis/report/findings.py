"""Everything that a page says of one sweep, computed before a word is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.comparison.holm import holm
from analysis.intervals.profile import Profile, profile
from analysis.load import SweepPlan, load_sweep, read_plan
from analysis.report.holdout import Holdout, holdout_of, with_predictions
from analysis.report.sensitivity import RatioByForm, influence_on_conclusion, ratio_by_form
from analysis.selection.holdout import blinded
from analysis.study.ledger import LedgerRow, ledger
from analysis.study.metrics import LOSS, metrics_of
from analysis.study.study import MetricStudy, ObjectiveStudy, StudyOptions, study_metric
from analysis.varied import what_varied


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SweepFindings:
    """One sweep: its runs, and what they say by metric."""

    folder: Path
    table: pd.DataFrame  # a row per run directory, sealed runs without their scores
    plan: SweepPlan
    varied: Sequence[Mapping[str, Any]]
    studies: Mapping[str, MetricStudy]  # by metric, that of the answer first
    adjusted_p: Mapping[str, float]  # by metric, of equal error at the reference compute (Holm)
    profiles: Mapping[tuple[str, str], tuple[Profile, ...]]  # by metric and objective
    influence: pd.DataFrame | None  # per run, on the conclusion of the first metric; None without a law
    by_form: tuple[RatioByForm, ...]  # the conclusion under every form that is as good
    ledger: tuple[LedgerRow, ...]  # of the first metric: every filter with its effect
    holdout: Holdout

    @property
    def name(self) -> str:
        """The name of the sweep."""
        return self.folder.resolve().name

    @property
    def main(self) -> MetricStudy:
        """The study of the answer."""
        return next(iter(self.studies.values()))

    @property
    def num_not_started(self) -> int:
        """Planned runs without a run directory."""
        return len(self.plan.costs.keys() - set(self.table["run_id"]))


def find(folder: Path, metric: str | None = None, options: StudyOptions = StudyOptions()) -> SweepFindings:
    """The findings of a sweep folder, runs/<sweep>; ValueError where it does not exist.

    Runs of its holdout stay sealed until their opening is on record.
    """
    table, plan = load_sweep(folder), read_plan(folder)
    holdout = holdout_of(folder, plan.holdout, table)
    options = dataclasses.replace(options, sealed=options.sealed | holdout.sealed)
    table = blinded(table, options.sealed)
    studies = {
        name: study_metric(table, name, options) for name in metrics_of(table, metric, options.between)
    }
    main = next(iter(studies.values()))
    compared = {name: study.comparison.p_value for name, study in studies.items() if study.comparison}
    return SweepFindings(
        folder=folder,
        table=table,
        plan=plan,
        varied=_varied(table, plan),
        studies=studies,
        adjusted_p=holm({name: value for name, value in compared.items() if value is not None}),
        profiles={
            (name, side.objective): profiles_of(side)
            for name, study in studies.items()
            if name in (main.metric, LOSS)
            for side in study.sides.values()
        },
        influence=influence_on_conclusion(main),
        by_form=ratio_by_form(main),
        ledger=ledger(main),
        holdout=with_predictions(holdout, main, options),
    )


def profiles_of(side: ObjectiveStudy) -> tuple[Profile, ...]:
    """A profile of every parameter of the law; none without a law."""
    if side.fit is None or side.fit.law is None:
        return ()
    return tuple(profile(side.fit, name) for name in side.fit.form.parameters)


def _varied(table: pd.DataFrame, plan: SweepPlan) -> Sequence[Mapping[str, Any]]:
    """The planner's table, which knows the declared axes, if the plan covers all runs; else the runs' own."""
    return plan.varied if plan.varied and set(table["run_id"]) <= plan.costs.keys() else what_varied(table)
