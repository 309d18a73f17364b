"""Everything that a page says of one sweep, computed before a word is written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.comparison.holm import holm
from analysis.filters import is_loss
from analysis.intervals.profile import Profile, profile
from analysis.load import SweepPlan, load_sweep, metric_columns, read_plan
from analysis.report.holdout import Holdout, holdout_of, with_predictions
from analysis.report.sensitivity import RatioByForm, influence_on_conclusion, ratio_by_form
from analysis.study.ledger import LedgerRow, ledger
from analysis.study.study import MetricStudy, ObjectiveStudy, StudyOptions, study_metric
from analysis.study.tuned import objectives_of
from analysis.varied import what_varied

LOSS = "held_out_loss.loss"
PREFERRED = "linear_probe.top1"  # the metric of the answer, where none is asked for and runs have it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SweepFindings:
    """One sweep: its runs, and what they say by metric."""

    folder: Path
    table: pd.DataFrame  # a row per run directory
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
    studies = {name: study_metric(table, name, options) for name in metrics_of(table, metric)}
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


def metrics_of(table: pd.DataFrame, asked: str | None = None) -> list[str]:
    """The metrics that are studied: the asked one, the held-out loss, and every error rate that all objectives have.

    Of recalls at several ranks only the most forgiving one is studied; the table of scores holds all.  Without `asked`
    the first is PREFERRED, else the first error rate that was recorded, else the held-out loss.
    """
    recorded = metric_columns(table)
    rates = [
        name for name in recorded if not is_loss(name) and not name.endswith(("_recall_at_1", "_recall_at_5"))
    ]
    losses = [name for name in recorded if is_loss(name)]
    shared = [name for name in rates if _everyone_has(table, name)]
    first = asked or next(iter([PREFERRED] * (PREFERRED in rates) + shared + rates + losses), PREFERRED)
    return list(dict.fromkeys([first, *([LOSS] if LOSS in losses else []), *shared]))


def profiles_of(side: ObjectiveStudy) -> tuple[Profile, ...]:
    """A profile of every parameter of the law; none without a law."""
    if side.fit is None or side.fit.law is None:
        return ()
    return tuple(profile(side.fit, name) for name in side.fit.form.parameters)


def _everyone_has(table: pd.DataFrame, metric: str) -> bool:
    compared = objectives_of(table)[:2]
    return len(compared) > 1 and all(
        table.loc[table["objective"] == name, metric].notna().any() for name in compared
    )


def _varied(table: pd.DataFrame, plan: SweepPlan) -> Sequence[Mapping[str, Any]]:
    """The planner's table, which knows the declared axes, if the plan covers all runs; else the runs' own."""
    return plan.varied if plan.varied and set(table["run_id"]) <= plan.costs.keys() else what_varied(table)


def largest_compute(study: MetricStudy) -> float:
    """The compute of the conclusion: that of the comparison, else the largest of any point; NaN without points."""
    comparison = study.comparison
    if comparison is not None and comparison.reference_compute is not None:
        return comparison.reference_compute
    largest = [side.points["train_flops"].max() for side in study.sides.values() if len(side.points)]
    return max(map(float, largest), default=math.nan)
