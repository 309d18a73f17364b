"""The fitted laws: evidence, and the forms that competed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from analysis.figures.words import number
from analysis.fitting.fit import GRADIENT_TOLERANCE, ILL_CONDITIONED, MIN_VALUES
from analysis.forms.form import Form
from analysis.report.blocks import Block, Cell, Folded, Points, Table, column, figure_cell, text_column, words
from analysis.selection.select import Candidate
from analysis.study.study import MetricStudy, ObjectiveStudy
from analysis.wording import ABSENT, share

NAMES = (text_column("metric"), text_column("objective"))


def law_table(studies: Iterable[MetricStudy]) -> Table:
    """One row per metric and objective: the status of the law and the evidence for it."""
    columns = (
        *NAMES,
        text_column("status"),
        text_column("form"),
        column("runs"),
        column("clusters"),
        *(
            column(name, "evidence")
            for name in (
                "explained",
                "gradient",
                "starts agreeing",
                "minima",
                "moved",
                "condition",
                "residual scale",
            )
        ),
        text_column("at a bound", "evidence"),
        column("failed", "refits"),
    )
    rows = [_law_row(study.metric, side) for study in studies for side in study.sides.values()]
    return Table(
        caption="Fitted laws and the evidence for them",
        columns=columns,
        rows=tuple(rows),
        note=(
            f"A law is stated only with {MIN_VALUES} distinct values of every covariate, a gradient below "
            f"{GRADIENT_TOLERANCE:.0e} (the objective scaled to 1 for a constant) and a Jacobian whose condition is "
            f"below {ILL_CONDITIONED:.0e}. Explained: share of the objective of the best constant. Starts agreeing: "
            "share of the starts that ended in the best minimum; minima: distinct ones. Moved: largest change of a "
            "coordinate from the best start. Error rates are fitted as they are, losses in logarithms; all "
            "objectives "
            "of a metric share one form, so that no difference between them is one between forms."
        ),
    )


def _law_row(metric: str, side: ObjectiveStudy) -> tuple[Cell, ...]:
    fit = side.fit
    status = "no points" if fit is None else fit.status.value.replace("_", " ")
    evidence = fit.evidence if fit else None
    numbers = [math.nan] * 7
    if evidence:
        numbers = [evidence.explained_share, evidence.gradient_norm, evidence.agreeing_share]
        numbers += [evidence.num_minima, evidence.moved, evidence.condition, evidence.residual_scale]
    texts = [share(numbers[0]), _tiny(numbers[1]), share(numbers[2]), _counted(numbers[3])]
    texts += [_told(numbers[4]), _told(numbers[5]), _told(numbers[6])]
    refitted = bool(side.refits and not side.refits.reason)
    failed = side.refits.failed_share if side.refits and refitted else math.nan
    return (
        words(metric),
        words(side.objective),
        words(status),
        words(fit.form.name if fit else ABSENT),
        figure_cell(str(len(side.points)), len(side.points)),
        figure_cell(*((str(count := fit.observations.num_clusters), count) if fit else (ABSENT, None))),
        *(figure_cell(text, value) for text, value in zip(texts, numbers, strict=True)),
        words(", ".join(evidence.bounds_hit) or "none" if evidence else ABSENT),
        figure_cell(share(failed), failed),
    )


def candidate_table(studies: Iterable[MetricStudy]) -> Table:
    """One row per metric, objective and form that competed: in-sample and forward merit."""
    columns = (
        *NAMES,
        text_column("form"),
        text_column("role"),
        column("AICc excess"),
        *(column(name, "forward validation") for name in ("predictions", "rmse", "bias", "coverage")),
        column("stack weight"),
    )
    rows = [
        _candidate_row(study.metric, side, one)
        for study in studies
        for side in study.sides.values()
        if side.selected
        for one in side.selected.candidates
    ]
    return Table(
        caption="Forms that competed",
        columns=columns,
        rows=tuple(rows),
        note=(
            "The forms are fixed in advance by what varies. AICc excess: above the least of the objective. "
            "Forward validation fits the runs below 3, 10 and 30 "
            "% of the "
            "largest compute and predicts those above; bias is predicted minus measured, coverage the share of "
            "measured "
            "errors inside their 95 % new-run interval. Stack weights would have predicted forward best in "
            "combination. "
            "Admissible: as good as the best by the rule that chose; the spread over admissible forms is the "
            "uncertainty "
            "of the form."
        ),
    )


def _candidate_row(metric: str, side: ObjectiveStudy, one: Candidate) -> tuple[Cell, ...]:
    assert side.selected is not None, "candidates come from a selection"
    best = min(other.aicc for other in side.selected.candidates)
    behind = one.aicc - best if math.isfinite(one.aicc) and math.isfinite(best) else math.nan
    score = one.forward
    return (
        words(metric),
        words(side.objective),
        words(score.form.name),
        words(_role(side, one)),
        figure_cell(ABSENT if math.isnan(behind) else f"{behind:.1f}", behind),
        figure_cell(str(score.num_predicted), score.num_predicted),
        figure_cell(_told(score.rmse), score.rmse),
        figure_cell(_told(score.bias), score.bias),
        figure_cell(share(score.coverage), score.coverage),
        figure_cell(f"{one.stack_weight:.2f}" if score.num_predicted else ABSENT, one.stack_weight),
    )


def without_law(studies: Sequence[MetricStudy]) -> list[Points]:
    """Why some objectives have no law, and what speaks against those that are stated; nothing where all is well."""
    told = [
        f"{study.metric}, {side.objective}: {side.reason}."
        for study in studies
        for side in study.sides.values()
        if side.reason
    ]
    doubts = [
        f"{study.metric}, {side.objective}: {doubt}."
        for study in studies
        for side in study.sides.values()
        for doubt in side.doubts
    ]
    blocks = [Points(lead="No law is stated.", items=tuple(told))] if told else []
    if doubts:
        blocks.append(
            Points(lead="Towers that a law cannot tell apart.", items=tuple(doubts), is_warning=True)
        )
    return blocks


def _role(side: ObjectiveStudy, one: Candidate) -> str:
    if one.fit.law is None:
        return f"no law: {one.fit.reason}"
    told = [] if one.fit.form == one.forward.form else [f"reduced to {one.fit.form.name}"]
    if side.fit is not None and one.fit.form == side.fit.form:
        told.append("used")
    if side.selected is not None and one.fit.form == side.selected.chosen.form:
        told.append("chosen alone")
    return ", ".join([*told, "admissible" if one.admissible else "not admissible"])


def choices(studies: Iterable[MetricStudy]) -> list[Block]:
    """Why each form was chosen, and behind a summary what the forms are."""
    sides = [(study.metric, side) for study in studies for side in study.sides.values() if side.selected]
    reasons, forms = [], dict[str, Form]()
    for metric, side in sides:
        assert side.selected is not None, "only sides with candidates"
        reasons.append(f"{metric}, {side.objective}: {side.selected.reason}.")
        forms |= {one.forward.form.name: one.forward.form for one in side.selected.candidates}
    if not reasons:
        return []
    formulas = Points(items=tuple(f"{name}: {form.formula}" for name, form in forms.items()))
    return [
        Points(items=tuple(reasons), lead="How the forms were chosen."),
        Folded(summary="Formulas of the forms", blocks=(formulas,)),
    ]


def _told(value: float) -> str:
    return ABSENT if math.isnan(value) else number(value)


def _tiny(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:.0e}"


def _counted(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:.0f}"
