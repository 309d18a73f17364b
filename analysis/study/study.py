"""Fits, refits and comparison of a metric over a whole sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.comparison.compare import CompareOptions, Comparison, compare
from analysis.comparison.side import Side
from analysis.comparison.tuning import TuningBudget
from analysis.filters import FAILED_STATUSES, Selection, is_loss, left_out, select_points
from analysis.fitting.fit import Fit, FitStatus
from analysis.fitting.options import FitOptions
from analysis.forms.form import Form
from analysis.frontier import Menu
from analysis.intervals.wild import Refits, refit
from analysis.selection.candidates import candidates
from analysis.selection.select import Candidate, Selected, select
from analysis.study.alike_towers import alike_towers
from analysis.study.points import CLUSTER, ceiling_of, cluster_labels, failed_runs, menu_of, observations_of
from analysis.study.tuned import method_axes, objectives_of, tuned_points

NUM_REFITS = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StudyOptions:
    """How a metric is studied; the defaults are those of every report."""

    num_refits: int = NUM_REFITS
    seed: int = 0  # of the refits
    level: float = 0.95
    sealed: frozenset[str] = frozenset()  # run_ids of the holdout, while it is closed
    # studied objective and rival; None: the first two of objectives_of
    between: tuple[str, str] | None = None
    admitted: frozenset[str] = frozenset()  # names of filters that are not applied
    # FLOPs of the headline ratio; None: the largest within the runs of both
    reference_compute: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveStudy:
    """The runs of one objective, the law through them and its refits."""

    objective: str
    points: pd.DataFrame  # rows of the sweep table that entered the fit, with error and guessing_error
    fit: Fit | None  # of the common form; None without any point
    selected: Selected | None  # how the forms compared; None without points that one law may join
    refits: Refits | None  # None where there is no law
    menu: Menu | None  # None without any point
    doubts: tuple[str, ...] = ()  # what speaks against the law although it is stated
    left_out: str = ""  # which rules left out runs that have the metric, where none is left

    @property
    def reason(self) -> str:
        """Why no law is stated; empty where one is."""
        return self.fit.reason if self.fit else self.left_out or "no finished run has this metric"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MetricStudy:
    """One metric over a whole sweep."""

    metric: str
    table: pd.DataFrame  # every run of the sweep
    selection: Selection
    sides: Mapping[str, ObjectiveStudy]  # by objective, also those without a point yet
    comparison: Comparison | None  # of the first two objectives; None where one has no points
    tuning: TuningBudget | None  # of the first two objectives; None without two
    options: StudyOptions

    @property
    def waiting(self) -> pd.DataFrame:
        """The runs that are not in the fits."""
        return self.table[~self.table["run_id"].isin(self.selection.points["run_id"])]


def study_metric(table: pd.DataFrame, metric: str, options: StudyOptions = StudyOptions()) -> MetricStudy:
    """Laws of `metric` per objective and their comparison at equal compute; error rates as they are, losses in logs.

    All objectives are fitted with one form, so that a difference between them is none between forms.
    """
    selection = select_points(table, metric, sealed=options.sealed, admitted=options.admitted)
    return study_selection(table, selection, options)


def study_selection(
    table: pd.DataFrame, selection: Selection, options: StudyOptions = StudyOptions()
) -> MetricStudy:
    """The study of points that were selected from a table by other rules than those of a sweep."""
    metric = selection.metric
    table = table.assign(**{CLUSTER: cluster_labels(table)})
    labels = dict(zip(table["run_id"], table[CLUSTER], strict=True))
    clustered = selection.points.assign(**{CLUSTER: selection.points["run_id"].map(labels)})
    selection = dataclasses.replace(selection, points=clustered)
    names = _in_order(objectives_of(table), options.between)
    tuned = tuned_points(selection.points, names, table[table["status"].isin(FAILED_STATUSES)])
    selection = dataclasses.replace(selection, rules=(*selection.rules, *tuned.rules))
    runs = {name: tuned.points[tuned.points["objective"] == name].reset_index(drop=True) for name in names}
    mixed = {name: method_axes(points) for name, points in runs.items()}
    selections = {
        name: _select(points, metric) if len(points) and not mixed[name] else None
        for name, points in runs.items()
    }
    common = _common_form([selected for selected in selections.values() if selected])
    sides = {
        name: _study_objective(name, runs[name], metric, mixed[name], selections[name], common, options)
        for name in names
    }
    sides |= {
        name: dataclasses.replace(side, left_out=left_out(table, name, selection.rules))
        for name, side in sides.items()
        if side.fit is None
    }
    comparison = _comparison(_sides(table, list(sides.values()), metric), tuned.budget, options)
    return MetricStudy(
        metric=metric,
        table=table,
        selection=selection,
        sides=sides,
        comparison=None if comparison is None else _with_doubts(comparison, sides),
        tuning=tuned.budget,
        options=options,
    )


def _in_order(names: Sequence[str], between: tuple[str, str] | None) -> list[str]:
    """The compared objectives first; ValueError where a wanted one has no run."""
    wanted = list(between or ())
    missing = [name for name in wanted if name not in names]
    if missing or len(set(wanted)) != len(wanted):
        raise ValueError(f"to compare {' and '.join(wanted)}: name two of {', '.join(names)}.")
    return [*wanted, *(name for name in names if name not in wanted)]


def fit_options(metric: str) -> FitOptions:
    """Residuals of a metric: losses in logarithms, error rates as they are; Huber with a delta of 1.345 scales."""
    return FitOptions(residual="log_error" if is_loss(metric) else "error")


def _select(points: pd.DataFrame, metric: str) -> Selected:
    observations = observations_of(points, metric)
    return select(observations, candidates(observations, ceiling_of(points, metric)), fit_options(metric))


def _common_form(selections: Sequence[Selected]) -> Form | None:
    """The form of all objectives: lowest AICc in sum, among the forms that are admissible for each of them."""
    rows = [{_asked(one.fit): one for one in selected.candidates if one.fit.law} for selected in selections]
    rows = [row for row in rows if row]
    if not rows:
        return None
    shared = set.intersection(*(set(row) for row in rows))
    admissible = {form for form in shared if all(row[form].admissible for row in rows)}
    return min(admissible or shared, key=lambda form: _merit(form, rows), default=None)


def _merit(form: Form, rows: Sequence[Mapping[Form, Candidate]]) -> tuple[float, int, str]:
    return sum(row[form].aicc for row in rows), len(form.parameters), form.name


def _asked(fit: Fit) -> Form:
    """The form that a fit was asked for, also where a simpler one was stated."""
    return fit.asked or fit.form


def _study_objective(
    name: str,
    points: pd.DataFrame,
    metric: str,
    mixed: Sequence[str],
    selected: Selected | None,
    common: Form | None,
    options: StudyOptions,
) -> ObjectiveStudy:
    fit = _mixed_fit(points, metric, mixed) if mixed else None
    if selected is not None:
        fit = next((one.fit for one in selected.candidates if _asked(one.fit) == common), selected.chosen)
    refits = refit(fit, num_refits=options.num_refits, seed=options.seed) if fit and fit.law else None
    menu = menu_of(points) if len(points) else None
    return ObjectiveStudy(
        objective=name,
        points=points,
        fit=fit,
        selected=selected,
        refits=refits,
        menu=menu,
        doubts=alike_towers(fit, points["image_tower"].astype(str).to_list(), menu) if len(points) else (),
    )


def _mixed_fit(points: pd.DataFrame, metric: str, mixed: Sequence[str]) -> Fit:
    """No law through runs that differ in their method: its points would not lie on one curve."""
    observations = observations_of(points, metric)
    return Fit(
        status=FitStatus.MIXED_POINTS,
        reason=f"the runs also differ in {', '.join(mixed)}, so they do not lie on one curve",
        form=candidates(observations, ceiling_of(points, metric))[0],
        options=fit_options(metric),
        observations=observations,
    )


def sides_of(study: MetricStudy) -> tuple[Side, ...]:
    """The studied objective and its rival as sides of a comparison; fewer where one has no points."""
    return _sides(study.table, list(study.sides.values()), study.metric)


def _sides(table: pd.DataFrame, sides: Sequence[ObjectiveStudy], metric: str) -> tuple[Side, ...]:
    return tuple(
        Side(
            objective=side.objective,
            fit=side.fit,
            menu=side.menu,
            metric=metric,
            kind="loss" if is_loss(metric) else "error",
            failed=failed_runs(table, side.objective, side.fit.form.covariates),
        )
        for side in sides[:2]
        if side.fit and side.menu
    )


def _with_doubts(comparison: Comparison, sides: Mapping[str, ObjectiveStudy]) -> Comparison:
    """The comparison with what speaks against the laws of its two sides among the notes."""
    names = (comparison.studied, comparison.rival)
    doubts = tuple(f"{name}: {doubt}" for name in names for doubt in sides[name].doubts)
    return dataclasses.replace(comparison, notes=(*comparison.notes, *doubts))


def _comparison(
    sides: Sequence[Side], tuning: TuningBudget | None, options: StudyOptions
) -> Comparison | None:
    """Of the studied objective and its rival; None where one has no points."""
    if len(sides) < 2:
        return None
    how = CompareOptions(
        level=options.level,
        num_refits=options.num_refits,
        seed=options.seed,
        reference_compute=options.reference_compute,
    )
    return compare(sides[0], sides[1], options=how, tuning=tuning)
