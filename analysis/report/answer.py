"""The answer of a sweep and what it rests on, in sentences made of the values they state."""

from __future__ import annotations

import math

import numpy as np

from analysis.comparison.compare import Comparison
from analysis.comparison.paired import REACH
from analysis.figures import style
from analysis.figures.lettering import text_colour
from analysis.figures.words import interval, listed, number, probability
from analysis.filters import error_label
from analysis.load import metric_columns
from analysis.report.blocks import Block, Finding, Points, Section
from analysis.report.findings import SweepFindings
from analysis.report.standing import standing
from analysis.study.study import ObjectiveStudy
from analysis.wording import flops, num_runs, share

NEUTRAL = "#4a525b"


def answer_section(findings: SweepFindings, identifier: str) -> Section:
    """The conclusion first, then what it rests on, each objective alone, and what is missing."""
    study = findings.main
    colours = style.objective_colours(list(study.sides))
    blocks: list[Block] = [
        Finding(lead="Answer", text=answer(findings), colour=_answer_colour(findings), is_answer=True)
    ]
    grounds = grounds_of(findings)
    if grounds:
        blocks.append(Points(lead="What it rests on.", items=tuple(grounds)))
    blocks += [
        Finding(lead=name, text=side_sentence(findings, side), colour=text_colour(colours[name]))
        for name, side in study.sides.items()
    ]
    missing = standing(findings.table, findings.num_not_started)
    if missing:
        lead = "Missing, or not to be compared. What is stated here rests on the finished runs alone."
        blocks.append(Points(lead=lead, items=tuple(missing), is_warning=True))
    return Section(
        identifier=identifier, title=f"The answer: {error_label(study.metric)}", blocks=tuple(blocks)
    )


def answer(findings: SweepFindings) -> str:
    """The sentence of the comparison, or why there is none."""
    study = findings.main
    if study.comparison is not None:
        return study.comparison.sentence()
    if findings.table.empty:
        return "There is none yet: the sweep folder holds no run."
    if not study.sides:
        return "There is none: no run names an objective."
    if len(study.sides) == 1:
        (name,) = study.sides
        return f"Nothing is compared, as all runs are of {name}; below is what they say alone."
    compared = list(study.sides.values())[:2]
    lacking = [side for side in compared if side.points.empty]
    if lacking:
        names = listed([side.objective for side in lacking])
        return f"There is none yet: no finished run of {names} has a {error_label(study.metric)}."
    names = listed([side.objective for side in compared if side.menu is None])
    return f"There is none: the records of {names} do not tell the parameters of their image towers."


def grounds_of(findings: SweepFindings) -> list[str]:
    """How sure the answer is, where it holds, what else it hangs on; empty without a comparison at equal compute."""
    comparison = findings.main.comparison
    if comparison is None or not len(comparison.compute_M):
        return []
    sentences = [_range_sentence(comparison), _better_sentence(comparison), _crossing_sentence(comparison)]
    sentences += [_form_sentence(findings), _influence_sentence(findings), _holm_sentence(findings)]
    sentences += [_holdout_sentence(findings), _others_sentence(findings)]
    return [sentence for sentence in sentences if sentence]


def _others_sentence(findings: SweepFindings) -> str:
    """Which objectives the answer leaves out; empty with two."""
    others = list(findings.main.sides)[2:]
    if not others:
        return ""
    verb = "is" if len(others) == 1 else "are"
    return f"{listed(others)} {verb} not part of this answer; --between A,B compares any two."


def side_sentence(findings: SweepFindings, side: ObjectiveStudy) -> str:
    """What the runs of one objective say: measured range, then the law or why there is none."""
    study, what = findings.main, error_label(findings.main.metric)
    if side.points.empty:
        recorded = ", ".join(metric_columns(study.table)) or "nothing yet"
        return f"no finished run has a {what}, so no law is stated (recorded: {recorded})."
    first = side.points.sort_values("train_flops").iloc[0]
    best = side.points.sort_values("error").iloc[0]
    text = f"{what} {number(first['error'])} at {flops(first['train_flops'])} training FLOPs"
    if best["run_id"] != first["run_id"]:
        text += f", best {number(best['error'])} at {flops(best['train_flops'])}"
    return f"{text}. {_law_sentence(side)}"


def _law_sentence(side: ObjectiveStudy) -> str:
    fit = side.fit
    if fit is None or fit.law is None:
        status = fit.status.value.replace("_", " ") if fit else "no points"
        return f"No law is stated ({status}, {num_runs(len(side.points))}): {side.reason}."
    refits = side.refits
    assert refits is not None, "a law has refits"
    told = []
    for name in fit.form.parameters:
        found = refits.parameter(name)
        told.append(f"{name} {number(found.estimate) if refits.reason else interval(found)}")
    text = f"Fitted to {num_runs(len(fit.observations))} with {fit.form.name}: {', '.join(told)}."
    return f"{text} No intervals: {refits.reason}." if refits.reason else text


def _range_sentence(comparison: Comparison) -> str:
    low, high = float(comparison.compute_M[0]), float(comparison.compute_M[-1])
    text = f"Both objectives have points from {flops(low)} to {flops(high)} training FLOPs."
    ratio = comparison.ratio
    within_M = comparison.compute_M if ratio is None else ratio.compute_M[~ratio.extrapolated_M]
    if len(within_M) and within_M[-1] < high:
        text += (
            f" Above {flops(float(within_M[-1]))} the frontiers rest on towers trained for more samples than any of "
            "their runs."
        )
    if comparison.ratio_beyond is not None:
        text += f" Beyond them, up to {REACH:g} times the largest, the ratio is an extrapolation."
    return text


def _better_sentence(comparison: Comparison) -> str:
    better_M = comparison.probability_better_M
    if not len(better_M) or comparison.reference_compute is None:
        return f"No probability is stated: {comparison.reason}." if comparison.reason else ""
    at = int(np.argmin(np.abs(np.log(comparison.compute_M / comparison.reference_compute))))
    low, high = probability(better_M.min()), probability(better_M.max())
    return (
        f"P({comparison.studied} has the smaller error) is {probability(better_M[at])} at "
        f"{flops(comparison.reference_compute)} FLOPs, and {low if low == high else f'between {low} and {high}'} over "
        "the shared range."
    )


def _crossing_sentence(comparison: Comparison) -> str:
    crossing = comparison.crossing
    if crossing is None:
        return ""
    low, high = crossing.compute_range
    fitted = listed([f"{flops(place)}" for place in crossing.estimates])
    text = f"The fitted frontiers cross at {fitted} FLOPs" if fitted else "The fitted frontiers do not cross"
    none = probability(crossing.probability_none)
    text += f" between {flops(low)} and {flops(high)}; P(no crossing there) is {none}."
    if crossing.intervals:
        stretches = listed(
            [f"{flops(one.lower or low)} to {flops(one.upper or high)}" for one in crossing.intervals]
        )
        text += f" They are not told apart from {stretches} FLOPs ({share(crossing.level)}, at each compute)."
    return text


def _form_sentence(findings: SweepFindings) -> str:
    comparison, forms = findings.main.comparison, findings.by_form
    if comparison is None or comparison.reference_compute is None or not forms:
        return ""
    statistical = interval(comparison.ratio_at(comparison.reference_compute))
    if len(forms) == 1:
        spread = f"{forms[0].form} is the only form that is as good as the best for both objectives"
    else:
        ratios = [one.ratio for one in forms]
        spread = (
            f"across the {len(forms)} forms that are as good, the ratio runs from {_ratio(min(ratios))} to "
            f"{_ratio(max(ratios))} (uncertainty of the form)"
        )
    return f"Statistical uncertainty of the ratio: {statistical}; {spread}."


def _influence_sentence(findings: SweepFindings) -> str:
    table = findings.influence
    if table is None or not len(table) or not math.isfinite(table["change_without_run"].iloc[0]):
        return ""
    row = table.iloc[int(table["change_without_run"].abs().argmax())]
    return (
        f"The single run that decides most is {row['run_id']}: without it the ratio is multiplied by "
        f"{number(float(row['factor_without_run']))}."
    )


def _holm_sentence(findings: SweepFindings) -> str:
    metric = findings.main.metric
    if metric not in findings.adjusted_p:
        return ""
    asked = len(findings.adjusted_p)
    adjusted = f", adjusted by Holm over {asked} metrics" if asked > 1 else ""
    return f"p of equal errors at that compute: {number(findings.adjusted_p[metric])}{adjusted}."


def _holdout_sentence(findings: SweepFindings) -> str:
    holdout = findings.holdout
    if not holdout.run_ids:
        return "No run was set aside as a holdout, so that nothing here was predicted before it was measured."
    if holdout.sealed:
        return f"{num_runs(len(holdout.sealed))} of the holdout are sealed and entered nothing on this page."
    return f"The holdout ({num_runs(len(holdout.run_ids))}) was opened; its runs are among those fitted."


def _ratio(value: float) -> str:
    if math.isinf(value):
        return "no compute that is believed"
    return number(value)


def _answer_colour(findings: SweepFindings) -> str:
    comparison = findings.main.comparison
    return (
        text_colour(style.objective_colours([comparison.studied])[comparison.studied])
        if comparison
        else NEUTRAL
    )
