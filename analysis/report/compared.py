"""The comparison at equal compute in tables: ratio, form, nested laws, tuning."""

from __future__ import annotations

import math

import numpy as np

from analysis.comparison.compare import Comparison
from analysis.figures.words import interval, number, probability
from analysis.intervals.interval import Interval
from analysis.report.blocks import (
    Block,
    Cell,
    Paragraph,
    Points,
    Table,
    column,
    figure_cell,
    text_column,
    words,
)
from analysis.report.findings import SweepFindings
from analysis.report.metrics import metrics_table
from analysis.wording import ABSENT, flops

ROWS = 5  # computes of the ratio table over the shared range
BEYOND = (3.0, 10.0)  # times the largest shared compute


def comparison_blocks(findings: SweepFindings) -> list[Block]:
    """Tables and rules of the comparison of the main metric; a sentence where there is none."""
    comparison = findings.main.comparison
    if comparison is None or comparison.ratio is None:
        reason = comparison.reason if comparison else "there are not two objectives with a law"
        return [Paragraph(text=f"No ratio is stated: {reason}."), metrics_table(findings)]
    blocks: list[Block] = [ratio_table(comparison)]
    blocks.append(form_table(findings))
    if comparison.nested:
        blocks.append(nested_table(comparison))
    else:
        blocks.append(Paragraph(text=f"Nested laws were not tested: {comparison.nested_reason}."))
    notes = tuple(_sentence(note) for note in comparison.notes)
    blocks.append(Points(items=notes, lead="Tuning, pairing and failed runs."))
    return [*blocks, metrics_table(findings)]


def ratio_table(comparison: Comparison) -> Table:
    """Errors, difference, ratio and P(better) at computes over the shared range, and the ratio beyond it."""
    columns = (
        column("training FLOPs"),
        column(f"{comparison.studied} error"),
        column(f"{comparison.rival} error"),
        column("difference [simultaneous 95 %]"),
        column("ratio"),
        column("lower", "95 % of the ratio"),
        column("upper", "95 % of the ratio"),
        column(f"P({comparison.studied} better)"),
        text_column("standing"),
    )
    last = len(comparison.compute_M) - 1
    rows = [
        _ratio_row(comparison, index) for index in sorted({round(at) for at in np.linspace(0, last, ROWS)})
    ]
    return Table(
        caption=f"{comparison.studied} against {comparison.rival} at equal compute",
        columns=columns,
        rows=(*rows, *_rows_beyond(comparison)),
        note=(
            f"Ratio: the compute {comparison.studied} needs, over the compute {comparison.rival} needs, for the "
            "error "
            f"that {comparison.rival} reaches with the compute of the row; below 1 {comparison.studied} needs less. "
            "Intervals are confidence sets of the ratio (Fieller); a dash is an open side. Compute is training "
            "FLOPs of "
            "everything that is trained: 2 per multiply-add, forward and backward, without recomputation."
        ),
    )


def _ratio_row(comparison: Comparison, index: int) -> tuple[Cell, ...]:
    compute = float(comparison.compute_M[index])
    errors = [float(comparison.studied_error_M[index]), float(comparison.rival_error_M[index])]
    difference = comparison.difference.at(index) if comparison.difference is not None else None
    better = (
        float(comparison.probability_better_M[index]) if len(comparison.probability_better_M) else math.nan
    )
    return (
        figure_cell(flops(compute), compute),
        *(figure_cell(number(error), error) for error in errors),
        figure_cell(
            interval(difference) if difference else ABSENT, difference.estimate if difference else None
        ),
        *_ratio_cells(comparison.ratio_at(compute)),
        figure_cell(ABSENT if math.isnan(better) else probability(better), better),
        words(_standing(comparison, compute)),
    )


def _rows_beyond(comparison: Comparison) -> list[tuple[Cell, ...]]:
    if comparison.ratio_beyond is None:
        return []
    top = float(comparison.compute_M[-1])
    nothing = figure_cell(ABSENT, None)
    rows = []
    for factor in BEYOND:
        compute = min(top * factor, float(comparison.ratio_beyond.compute_M[-1]))
        cells = _ratio_cells(comparison.ratio_at(compute))
        rows.append(
            (figure_cell(flops(compute), compute), *[nothing] * 3, *cells, nothing, words("extrapolated"))
        )
    return rows


def _ratio_cells(found: Interval) -> tuple[Cell, ...]:
    return (
        figure_cell(_estimate(found.estimate), found.estimate),
        figure_cell(ABSENT if found.lower is None else number(found.lower), found.lower),
        figure_cell(ABSENT if found.upper is None else number(found.upper), found.upper),
    )


def _estimate(value: float) -> str:
    if math.isinf(value):
        return "not reached"
    return "always below" if value == 0 else number(value)


def _standing(comparison: Comparison, compute: float) -> str:
    assert comparison.ratio is not None, "rows are those of a ratio"
    return "beyond the runs of one" if comparison.ratio.is_extrapolated(compute) else "within the runs"


def form_table(findings: SweepFindings) -> Table:
    """The ratio at the reference compute under every form that is as good, beside the statistical interval."""
    comparison = findings.main.comparison
    assert comparison is not None and comparison.reference_compute is not None, "the table of a ratio"
    statistical = comparison.ratio_at(comparison.reference_compute)
    rows = [
        (
            words(one.form),
            words("used" if one.is_used else "as good"),
            figure_cell(_estimate(one.ratio), one.ratio),
        )
        for one in findings.by_form
    ]
    return Table(
        caption="Uncertainty of the form",
        columns=(text_column("form of both laws"), text_column("role"), column("ratio")),
        rows=tuple(rows),
        note=(
            f"The ratio at {flops(comparison.reference_compute)} FLOPs, had both objectives been fitted with "
            "another form "
            f"that is admissible for both. Statistical uncertainty of the form that is used: {interval(statistical)}."
        ),
    )


def nested_table(comparison: Comparison) -> Table:
    """How much the two laws have in common."""
    rows = [
        (
            words(one.restriction),
            words(one.against),
            figure_cell(str(one.num_restrictions), one.num_restrictions),
            figure_cell(number(one.f_statistic), one.f_statistic),
            figure_cell(number(one.p_value), one.p_value),
            figure_cell(number(one.p_value_f), one.p_value_f),
            words("rejected at 5 %" if one.p_value < 0.05 else "not rejected"),
        )
        for one in comparison.nested
    ]
    names = ("parameters shared", "F", "p (bootstrap)", "p (F)")
    return Table(
        caption="Nested laws: what the two objectives share",
        columns=(
            text_column("hypothesis"),
            text_column("against"),
            *map(column, names),
            text_column("verdict"),
        ),
        rows=tuple(rows),
        note="Bootstrap p-values impose the hypothesis and flip clusters; those of F assume equal independent noise.",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
