"""Every parameter of the laws with two intervals side by side, and where amplitudes are stated."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.figures.words import number
from analysis.fitting.fit import Fit
from analysis.intervals.interval import Interval
from analysis.intervals.profile import Profile
from analysis.intervals.wild import MIN_CLUSTERS
from analysis.report.blocks import Cell, Paragraph, Table, column, figure_cell, text_column, words
from analysis.report.findings import SweepFindings
from analysis.study.study import MetricStudy, ObjectiveStudy
from analysis.wording import ABSENT, flops


def parameter_table(findings: SweepFindings) -> Table:
    """One row per law and parameter: estimate, bootstrap interval, profile interval, what is open and why."""
    columns = (
        text_column("metric"),
        text_column("objective"),
        text_column("parameter"),
        column("estimate"),
        *(column(name, "bootstrap") for name in ("lower", "upper")),
        *(column(name, "profile") for name in ("lower", "upper")),
        text_column("remark"),
    )
    rows = [
        _parameter_row(metric, side, one)
        for metric, study in findings.studies.items()
        for side in study.sides.values()
        for one in findings.profiles.get((metric, side.objective), ())
    ]
    return Table(
        caption="Parameters with intervals by two methods (95 %)",
        columns=columns,
        rows=tuple(rows),
        note=(
            f"Bootstrap: {findings.main.options.num_refits:,} refits whose noise is flipped by whole clusters "
            "(cells, or a shared trunk), with "
            f"leverage correction and a t reference, from {MIN_CLUSTERS} clusters on. Profile: the values of a "
            "parameter "
            "at which the best law is not significantly worse. A dash is an open side: the runs do not bound the "
            "parameter "
            "there. Amplitudes are errors at the geometric mean of the covariates; parameters move together, so "
            "read the "
            "band of the curve before them."
        ),
    )


def _parameter_row(metric: str, side: ObjectiveStudy, found: Profile) -> tuple[Cell, ...]:
    assert side.refits is not None, "a law that is profiled has refits"
    bootstrap = side.refits.parameter(found.parameter)
    return (
        words(metric),
        words(side.objective),
        words(found.parameter),
        figure_cell(number(bootstrap.estimate), bootstrap.estimate),
        *_ends(bootstrap),
        *_ends(found.interval),
        words(_remark(bootstrap, found.interval)),
    )


def _remark(bootstrap: Interval, profiled: Interval) -> str:
    told = []
    if bootstrap.reason:
        told.append(f"bootstrap: {bootstrap.reason}")
    if profiled.reason:
        told.append(f"profile: {profiled.reason}")
    return "; ".join(told) or "identified"


def _ends(found: Interval) -> tuple[Cell, Cell]:
    lower, upper = (
        figure_cell(ABSENT if end is None else number(end), end) for end in (found.lower, found.upper)
    )
    return lower, upper


def references(studies: Mapping[str, MetricStudy]) -> Paragraph:
    """The covariates at which amplitudes are stated, per law."""
    told = [
        f"{metric}, {side.objective}: {_reference_text(side.fit)}"
        for metric, study in studies.items()
        for side in study.sides.values()
        if side.fit and side.fit.law
    ]
    return Paragraph(
        text=f"References of the amplitudes. {'; '.join(told) or 'No law is stated'}.", is_note=True
    )


def _reference_text(fit: Fit) -> str:
    return ", ".join(f"{name} {flops(value)}" for name, value in fit.found.references.items())
