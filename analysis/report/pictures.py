"""The figures of a page, each at the width of a page and at that of a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pandas as pd

from analysis.figures.collapse import collapsed_training_curves
from analysis.figures.difference import difference_versus_compute
from analysis.figures.drawing import Drawing
from analysis.figures.error import error_versus_compute
from analysis.figures.fan import forward_fan
from analysis.figures.identity import cost_data, held_out, predicted_versus_measured_cost
from analysis.figures.influence import influence_bars
from analysis.figures.isoflop import isoflop_valleys
from analysis.figures.profiles import profile_panels
from analysis.figures.ratio import ratio_versus_compute
from analysis.figures.residuals import residual_panels
from analysis.figures.scores import score_panels
from analysis.figures.slices import slices
from analysis.figures.style import Looks, Width, looks_of
from analysis.load import metric_columns
from analysis.report.blocks import Figure
from analysis.report.findings import SweepFindings
from analysis.selection.forward import LEVEL
from analysis.selection.select import Candidate
from analysis.study.isoflop import isoflop_fits
from analysis.study.study import MetricStudy, ObjectiveStudy
from scaling.records import read_lines, run_directories


class AtWidth(Protocol):
    """Draws one figure at a width."""

    def __call__(self, *, width: Width) -> Drawing: ...


def at_both_widths(draw: AtWidth) -> Figure:
    """The figure for a page and for a phone."""
    return Figure(wide=draw(width="full"), narrow=draw(width="column"))


def looks(findings: SweepFindings) -> Looks:
    """Colours and markers, the same in all figures of a sweep."""
    return looks_of(findings.table, list(findings.main.sides))


def main_figures(findings: SweepFindings) -> list[Figure]:
    """Error against compute with frontiers, then ratio and difference where two objectives are compared.

    None where no run names an objective.
    """
    study, comparison = findings.main, findings.main.comparison
    figures = [_errors(study)] if study.sides else []
    if comparison is not None and comparison.ratio is not None:
        seen = looks(findings)
        figures.append(at_both_widths(lambda *, width: ratio_versus_compute(comparison, seen, width=width)))
        figures.append(
            at_both_widths(lambda *, width: difference_versus_compute(comparison, seen, width=width))
        )
    return figures


def other_metrics(findings: SweepFindings) -> list[Figure]:
    """Error against compute of every other metric that was studied."""
    return [
        _errors(study)
        for metric, study in findings.studies.items()
        if metric != findings.main.metric and study.sides
    ]


def other_scores(findings: SweepFindings) -> list[Figure]:
    """The recorded scores that were not studied, a small panel each; none where all were.

    Of recalls at several ranks the most forgiving one is shown.
    """
    seen, table = looks(findings), findings.table
    left = [
        name
        for name in metric_columns(table)
        if name.replace("_head.", ".") not in findings.studies
        and not name.endswith(("_recall_at_1", "_recall_at_5"))
    ]
    return [at_both_widths(lambda *, width: score_panels(table, left, seen, width=width))] if left else []


def law_figures(findings: SweepFindings) -> list[Figure]:
    """Forward validation of the form that is used, slices where it is a surface, residuals."""
    study, seen = findings.main, looks(findings)
    figures = [_fan(side, study, seen) for side in study.sides.values() if _has_folds(side)]
    if not any(side.fit and side.fit.law for side in study.sides.values()):
        return figures
    if _is_surface(study):
        figures.append(at_both_widths(lambda *, width: slices(study, "image_tower", width=width)))
        figures.append(at_both_widths(lambda *, width: slices(study, "samples_seen", width=width)))
    return [*figures, at_both_widths(lambda *, width: residual_panels(study, width=width))]


def isoflop_figures(findings: SweepFindings) -> list[Figure]:
    """Valleys of runs of equal training compute; none where no level has enough towers."""
    levels, study = isoflop_fits(findings.main), findings.main
    if not any(levels.values()):
        return []
    return [at_both_widths(lambda *, width: isoflop_valleys(study, levels, width=width))]


def influence_figures(findings: SweepFindings) -> list[Figure]:
    """What leaving out a cell does to the ratio, per objective; none where no ratio is stated."""
    table, comparison, seen = findings.influence, findings.main.comparison, looks(findings)
    if (
        table is None
        or comparison is None
        or comparison.ratio is None
        or comparison.reference_compute is None
    ):
        return []
    ratio = comparison.ratio_at(comparison.reference_compute).estimate
    changes = ["change_without_run", "change_without_cluster"]
    doublings = table.assign(**{name: table[name] / np.log(2) for name in changes})
    return [
        _influence(rows.reset_index(drop=True), str(name), float(np.log2(ratio)), seen)
        for name, rows in doublings.groupby("objective", sort=False)
    ]


def _influence(rows: pd.DataFrame, objective: str, estimate: float, seen: Looks) -> Figure:
    return at_both_widths(
        lambda *, width: influence_bars(
            rows, objective, "log2 of the ratio", seen, estimate=estimate, unit="doublings", width=width
        )
    )


def profile_figures(findings: SweepFindings) -> list[Figure]:
    """The profiles of every law of the main metric."""
    seen, study = looks(findings), findings.main
    return [_profiles(findings, side, seen) for side in study.sides.values() if side.fit and side.fit.law]


def holdout_figures(findings: SweepFindings) -> list[Figure]:
    """Predicted against measured errors of the opened holdout, per objective."""
    seen, metric = looks(findings), findings.main.metric
    return [_held_out(table, name, metric, seen) for name, table in findings.holdout.predictions.items()]


def cost_figures(findings: SweepFindings) -> list[Figure]:
    """Predicted against measured cost; none where nothing was measured."""
    if cost_data(findings.table).empty:
        return []
    seen, table = looks(findings), findings.table
    return [at_both_widths(lambda *, width: predicted_versus_measured_cost(table, seen, width=width))]


def curve_figures(findings: SweepFindings) -> list[Figure]:
    """The training curves of the finished runs, raw and collapsed; none without any."""
    rows, _ = training_curves(findings)
    if rows.empty:
        return []
    seen = looks(findings)
    return [at_both_widths(lambda *, width: collapsed_training_curves(rows, seen, width=width))]


def training_curves(findings: SweepFindings) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """objective, run_id, samples_seen, loss of every logged step of the finished runs that are not sealed.

    Then a sentence per run whose metrics.jsonl is damaged, of which no step is among them.
    """
    table = findings.table
    done = table[(table["status"] == "done") & ~table["run_id"].isin(list(findings.main.options.sealed))]
    objective = dict(zip(done["run_id"], done["objective"])) if len(done) else {}
    rows: list[dict[str, object]] = []
    damaged = []
    for directory in run_directories(findings.folder):
        run_id = directory.path.name
        if run_id not in objective:
            continue
        try:
            logged = list(_losses(read_lines(directory.metrics)))
        except ValueError as error:
            damaged.append(f"{run_id} has no curve: {error}")
            continue
        rows += [{"objective": objective[run_id], "run_id": run_id} | line for line in logged]
    return pd.DataFrame(rows, columns=["objective", "run_id", "samples_seen", "loss"]), tuple(damaged)


def _losses(lines: Iterator[dict[str, object]]) -> Iterator[dict[str, object]]:
    for line in lines:
        loss, samples = line.get("loss"), line.get("samples_seen")
        if isinstance(samples, int) and isinstance(loss, (int, float)) and np.isfinite(loss):
            yield {"samples_seen": samples, "loss": loss}


def _errors(study: MetricStudy) -> Figure:
    return at_both_widths(lambda *, width: error_versus_compute(study, width=width))


def _fan(side: ObjectiveStudy, study: MetricStudy, seen: Looks) -> Figure:
    score = next(one.forward for one in _of_used_form(side))
    return at_both_widths(
        lambda *, width: forward_fan(score, side.objective, study.metric, seen, width=width)
    )


def _profiles(findings: SweepFindings, side: ObjectiveStudy, seen: Looks) -> Figure:
    assert side.fit is not None, "a law that is profiled"
    fit, metric = side.fit, findings.main.metric
    profiles = findings.profiles[metric, side.objective]
    return at_both_widths(
        lambda *, width: profile_panels(profiles, fit, side.objective, metric, seen, width=width)
    )


def _held_out(table: pd.DataFrame, name: str, metric: str, seen: Looks) -> Figure:
    return at_both_widths(lambda *, width: held_out(table, name, metric, LEVEL, seen, width=width))


def _has_folds(side: ObjectiveStudy) -> bool:
    return any(one.forward.folds for one in _of_used_form(side)[:1])


def _of_used_form(side: ObjectiveStudy) -> list[Candidate]:
    """The candidates of the form that is used, those that were validated as such first."""
    if side.selected is None or side.fit is None:
        return []
    form = side.fit.form
    found = [one for one in side.selected.candidates if one.fit.form == form]
    return sorted(found, key=lambda one: one.forward.form != form)


def _is_surface(study: MetricStudy) -> bool:
    laws = [side.fit for side in study.sides.values() if side.fit and side.fit.law]
    return all({"parameters", "samples_seen"} <= set(fit.form.covariates) for fit in laws)
