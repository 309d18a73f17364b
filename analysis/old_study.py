"""What a sweep says about one metric: points, fitted law and bootstrap of each objective."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import pandas as pd

from analysis.filters import Selection, is_loss, select_points
from analysis.fit import Fit, FitStatus, fit_law
from analysis.problem import FitOptions
from analysis.uncertainty import NUM_REFITS, Bootstrap, bootstrap_cells
from analysis.varied import AXIS_ORDER, what_varied

OBJECTIVE_ORDER = ("superclass", "clip", "siglip", "superclip", "lit")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveLaw:
    """The runs of one objective, the law through them and how far it would move."""

    objective: str
    points: pd.DataFrame
    fit: Fit
    bootstrap: Bootstrap | None  # None where there is no law to move


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MetricStudy:
    """One metric over a whole sweep."""

    metric: str
    table: pd.DataFrame  # every run of the sweep
    selection: Selection
    laws: Mapping[str, ObjectiveLaw]  # by objective, also those without a point yet

    @property
    def waiting(self) -> pd.DataFrame:
        """The runs that are not in the fit."""
        return self.table[~self.table["run_id"].isin(self.selection.points["run_id"])]


def study_metric(
    table: pd.DataFrame, metric: str, *, num_refits: int = NUM_REFITS, seed: int = 0
) -> MetricStudy:
    """Laws of `metric` in training FLOPs, per objective; error rates as they are, losses in logarithms."""
    selection = select_points(table, metric)
    laws: dict[str, ObjectiveLaw] = {}
    for objective in objectives_of(table):
        points = selection.points[selection.points["objective"] == objective].reset_index(drop=True)
        options = _options(points, metric)
        mixed = own_axes(points)
        fit = (
            _no_law(points, options, mixed)
            if mixed
            else fit_law(points["train_flops"], points["error"], options)
        )
        drawn = fit.law is not None
        bootstrap = bootstrap_cells(points, options, num_refits=num_refits, seed=seed) if drawn else None
        laws[objective] = ObjectiveLaw(objective=objective, points=points, fit=fit, bootstrap=bootstrap)
    return MetricStudy(metric=metric, table=table, selection=selection, laws=laws)


def objectives_of(table: pd.DataFrame) -> list[str]:
    """Objectives of the sweep: the studied one first, then its rival, then any other by name."""
    present = set(table["objective"].dropna().astype(str)) if "objective" in table else set[str]()
    return [name for name in OBJECTIVE_ORDER if name in present] + sorted(present - set(OBJECTIVE_ORDER))


def own_axes(table: pd.DataFrame) -> list[str]:
    """The science fields in which runs of one objective differ beside size, samples and seed."""
    axes = [row["field"] for row in what_varied(table) if row["kind"] == "axis"] if len(table) else []
    return [axis for axis in axes if axis not in AXIS_ORDER]


def _no_law(points: pd.DataFrame, options: FitOptions, mixed: list[str]) -> Fit:
    """No law through runs that differ in their method: its points would not lie on one curve."""
    return Fit(
        status=FitStatus.MIXED_POINTS,
        reason=f"the runs also differ in {', '.join(mixed)}, so they do not lie on one curve",
        options=options,
        num_points=len(points),
        num_compute_values=points["train_flops"].nunique(),
    )


def _options(points: pd.DataFrame, metric: str) -> FitOptions:
    if is_loss(metric):
        return FitOptions(residual="log_error")
    guessing = points["guessing_error"].min()
    return FitOptions(ceiling=1.0 if math.isnan(guessing) else float(guessing))
