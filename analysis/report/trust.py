"""What the conclusion hangs on: every filter with its effect, single runs, the holdout."""

from __future__ import annotations

import math

import pandas as pd

from analysis.figures.words import interval, listed, number
from analysis.report.blocks import Block, Paragraph, Points, Table, column, figure_cell, text_column, words
from analysis.report.findings import SweepFindings
from analysis.report.holdout import Holdout
from analysis.wording import ABSENT, flops, num_runs, share

MOST_INFLUENTIAL = 12  # runs shown; the figure's data hold all


def ledger_table(findings: SweepFindings) -> Table:
    """Every filter and change of rules: whom it left out, and the ratio without it."""
    used = sum(len(side.points) for side in findings.main.sides.values())
    rows = [
        (
            words("used in the fits"),
            words("finished, evaluated at the end of training, with an error"),
            figure_cell(str(used), used),
            figure_cell(ABSENT, None),
            words("the conclusion of this page"),
            words(""),
        )
    ]
    for row in findings.ledger:
        count = len(row.run_ids)
        rows.append(
            (
                words(row.rule),
                words(row.description),
                figure_cell(str(count) if count else ABSENT, count or None),
                figure_cell(
                    interval(row.ratio) if row.ratio else ABSENT, row.ratio.estimate if row.ratio else None
                ),
                words(row.reason or "ratio under the other choice"),
                words(", ".join(row.run_ids)),
            )
        )
    columns = (
        text_column("rule"),
        text_column("what it says"),
        column("runs"),
        column("ratio otherwise [95 %]"),
        text_column("effect on the conclusion"),
        text_column("which runs"),
    )
    return Table(
        caption="Ledger: every rule that decides which runs are fitted",
        columns=columns,
        rows=tuple(rows),
        note=(
            "No run is dropped silently. Where the runs of a rule have an error, the comparison is repeated with "
            "them; "
            "failed runs have none and are counted as bad as the worst completed run of their tower where they "
            "are many."
        ),
    )


def influence_blocks(findings: SweepFindings) -> list[Block]:
    """The runs that decide most, or why none can be left out."""
    table = findings.influence
    if table is None or table.empty:
        return [Paragraph(text="No law is stated, so no run has an influence on one.")]
    has_ratio = findings.main.comparison is not None and findings.main.comparison.ratio is not None
    what = "the ratio" if has_ratio else "the least error at the largest compute"
    return [influence_table(table, what)]


def influence_table(table: pd.DataFrame, what: str) -> Table:
    """The first rows of an influence table, the largest change first."""
    columns = (
        text_column("run"),
        text_column("cell"),
        column("leverage of the cell"),
        column("without the run"),
        column("without its cell"),
    )
    rows = [
        (
            words(str(row["run_id"])),
            words(str(row["cluster"])),
            figure_cell(number(float(row["leverage"])), float(row["leverage"])),
            *(
                figure_cell(_factor(float(row[name])), float(row[name]))
                for name in ("factor_without_run", "factor_without_cluster")
            ),
        )
        for row in table.head(MOST_INFLUENTIAL).to_dict("records")
    ]
    undetermined = int(table["factor_without_run"].isna().sum())
    told = (
        f"{num_runs(undetermined)} cannot be left out: the others alone determine no law. "
        if undetermined
        else ""
    )
    return Table(
        caption=f"Influence: by what {what} is multiplied when a run, or its cell, is left out",
        columns=columns,
        rows=tuple(rows),
        note=(
            f"Exact refits; the {min(len(table), MOST_INFLUENTIAL)} of {num_runs(len(table))} that change most. "
            f"{told}"
            "A leverage near 1 means that the cell alone determines part of the law."
        ),
    )


def _factor(value: float) -> str:
    if math.isnan(value):
        return "no law"
    return "not reached" if math.isinf(value) else f"x {number(value)}"


def holdout_blocks(holdout: Holdout) -> list[Block]:
    """Whether the holdout is sealed, who opened it and when, and how the predictions fared."""
    if not holdout.run_ids:
        text = (
            "The sweep file names no holdout. A holdout (its largest cells, sealed until scaling report --unseal) "
            "shows whether the laws predict what they have not seen."
        )
        return [Paragraph(text=text)]
    planned = f"{num_runs(len(holdout.run_ids))} of the plan are set aside, {len(holdout.finished)} of them finished."
    if holdout.sealed:
        text = f"{planned} {len(holdout.sealed)} are sealed: no number on this page has seen them."
    else:
        text = f"{planned} All are open."
    blocks: list[Block] = [Paragraph(text=text)]
    opened = [
        f"{one.opened_at}: opened by {one.opened_by} ({num_runs(len(one.run_ids))}, {len(one.finished)} finished "
        "by then)."
        for one in holdout.openings
    ]
    if opened:
        blocks.append(Points(lead="Openings on record.", items=tuple(opened)))
    if holdout.predictions:
        blocks.append(prediction_table(holdout))
    elif opened:
        blocks.append(Paragraph(text="No opened run has both a score and a law that predicts it."))
    return blocks


def prediction_table(holdout: Holdout) -> Table:
    """One row per opened run: predicted by laws that never saw it, and measured."""
    rows = []
    for objective, table in holdout.predictions.items():
        for row in table.to_dict("records"):
            rows.append(
                (
                    words(str(row["run_id"])),
                    words(objective),
                    figure_cell(flops(row["train_flops"]), row["train_flops"]),
                    *(
                        figure_cell(number(row[name]), row[name])
                        for name in ("predicted", "lower", "upper", "measured")
                    ),
                    words("inside" if row["inside"] else "outside"),
                )
            )
    inside = [float(table["inside"].mean()) for table in holdout.predictions.values()]
    told = [f"{name} {share(value)}" for name, value in zip(holdout.predictions, inside, strict=True)]
    columns = (
        text_column("run"),
        text_column("objective"),
        column("training FLOPs"),
        column("error", "predicted"),
        column("lower", "predicted"),
        column("upper", "predicted"),
        column("error", "measured"),
        text_column("measured lies"),
    )
    return Table(
        caption="The holdout: predicted without it, and measured",
        columns=columns,
        rows=tuple(rows),
        note=f"Inside the 95 % interval of a new run: {listed(told)}.",
    )
