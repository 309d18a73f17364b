"""Every metric of a sweep side by side, with p-values adjusted for asking several times."""

from __future__ import annotations

from analysis.figures.words import interval, number
from analysis.report.blocks import Table, column, figure_cell, text_column, words
from analysis.report.findings import SweepFindings
from analysis.wording import ABSENT, flops


def metrics_table(findings: SweepFindings) -> Table:
    """One row per metric: ratio at the reference compute and p, also adjusted over the metrics."""
    rows = []
    for metric, study in findings.studies.items():
        comparison, cells = study.comparison, [figure_cell(ABSENT, None)] * 4
        reason = "not two objectives with a law"
        if comparison is not None:
            reason = comparison.reason or "compared"
        if (
            comparison is not None
            and comparison.ratio is not None
            and comparison.reference_compute is not None
        ):
            ratio, p_value = comparison.ratio_at(comparison.reference_compute), comparison.p_value
            adjusted = findings.adjusted_p.get(metric)
            cells = [
                figure_cell(flops(comparison.reference_compute), comparison.reference_compute),
                figure_cell(interval(ratio), ratio.estimate),
                figure_cell(ABSENT if p_value is None else number(p_value), p_value),
                figure_cell(ABSENT if adjusted is None else number(adjusted), adjusted),
            ]
        rows.append((words(metric), *cells, words(reason)))
    names = ("at FLOPs", "ratio [95 %]", "p of equal errors", "p adjusted (Holm)")
    return Table(
        caption="All metrics that were studied",
        columns=(text_column("metric"), *map(column, names), text_column("remark")),
        rows=tuple(rows),
        note=(
            "Only error rates that both objectives were evaluated by are compared; losses measure different "
            "things. Holm's "
            "adjustment bounds the chance of any false rejection among the metrics."
        ),
    )
