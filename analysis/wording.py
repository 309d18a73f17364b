"""Sentences of the report, made of the values they state."""

from __future__ import annotations

import math

import pandas as pd

from analysis.filters import FAILED_STATUSES, error_label, is_loss
from analysis.load import metric_columns
from analysis.old_study import MetricStudy, ObjectiveLaw
from analysis.uncertainty import PARAMETERS, Parameter
from scaling.units import format_flops, format_quantity

ABSENT = "–"  # a number that was not recorded

LOOSE = 4.0  # ends of the exponent's interval so many times apart: floor and exponent trade places


def number(value: float, digits: int = 3) -> str:
    """A number to some significant digits without exponent notation; a dash where it is absent."""
    if math.isnan(value):
        return ABSENT
    if value == 0:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{decimals}f}"


def quantity(value: float) -> str:
    """A whole number: 16,384 in full, from a million on with a decimal suffix and three digits."""
    if math.isnan(value):
        return ABSENT
    whole = int(value)
    return f"{whole:,}" if whole < 10**6 else format_quantity(int(float(f"{whole:.3g}")))


def flops(value: float) -> str:
    """Training FLOPs with three significant digits; a dash where they are absent."""
    return ABSENT if math.isnan(value) else format_flops(value)


def share(value: float | None) -> str:
    """A share as a percentage; a dash where it is absent."""
    return ABSENT if value is None or math.isnan(value) else f"{100 * value:.3g} %"


def with_interval(law: ObjectiveLaw, parameter: Parameter) -> str:
    """A fitted parameter with its interval, "0.310 [0.280, 0.350]"; the number alone where there is none."""
    if law.fit.law is None:
        return ABSENT
    text = number(getattr(law.fit.law, parameter))
    interval = law.bootstrap.interval(parameter) if law.bootstrap else None
    return f"{text} [{number(interval[0])},\N{NO-BREAK SPACE}{number(interval[1])}]" if interval else text


def headline(study: MetricStudy, law: ObjectiveLaw) -> str:
    """What the runs of one objective say: measured range, then the law with intervals or why not."""
    what = error_label(study.metric)
    if law.points.empty:
        recorded = ", ".join(metric_columns(study.table)) or "nothing yet"
        return f"no finished run has a {what}, so no law is stated (recorded: {recorded})."
    first = law.points.sort_values("train_flops").iloc[0]
    best = law.points.sort_values("error").iloc[0]
    text = f"{what} {number(first['error'])} at {flops(first['train_flops'])} training FLOPs"
    if best["run_id"] != first["run_id"]:
        text += f", best {number(best['error'])} at {flops(best['train_flops'])}"
    return f"{text}. {_law_sentence(law)}"


def _law_sentence(law: ObjectiveLaw) -> str:
    fitted = law.fit.law
    if fitted is None:
        status = law.fit.status.value.replace("_", " ")
        return f"No law is stated ({status}, {num_runs(law.fit.num_points)}): {law.fit.reason}."
    parameters = ", ".join(f"{name} {with_interval(law, name)}" for name in PARAMETERS)
    text = (
        f"Fitted to {num_runs(law.fit.num_points)}: error = floor + scale × "
        f"(C / {flops(fitted.reference_compute)})^−exponent with {parameters}. {_interval_sentence(law)}"
    )
    interval = law.bootstrap.interval("exponent") if law.bootstrap else None
    if interval and interval[1] > LOOSE * interval[0]:
        text += " So wide an interval means that these runs do not tell a low floor from a steep fall."
    return f"{text} No saturation is visible: the floor ends at 0." if fitted.floor == 0 else text


def _interval_sentence(law: ObjectiveLaw) -> str:
    assert law.bootstrap is not None, "a law without a bootstrap"
    if law.bootstrap.reason:
        return f"No interval: {law.bootstrap.reason}."
    return (
        f"Brackets: {share(law.bootstrap.level)} intervals of {law.bootstrap.num_refits} refits to resampled "
        f"cells ({law.bootstrap.num_cells} cells; {share(law.bootstrap.failed_share)} of the refits failed)."
    )


def standing(table: pd.DataFrame, num_not_started: int) -> list[str]:
    """What is missing from the sweep or does not compare, a sentence per kind; empty when all is well."""
    sentences = []
    for run in table[table["status"].isin(FAILED_STATUSES)].to_dict("records"):
        reason = str(run["reason"]).rstrip(".") or "no reason recorded"
        sentences.append(f"{run['run_id']} failed ({run['status']}): {reason}.")
    for status in table["status"][~table["status"].isin([*FAILED_STATUSES, "done"])].unique():
        run_ids = table.loc[table["status"] == status, "run_id"]
        sentences.append(f"{num_runs(len(run_ids))} {status}: {', '.join(run_ids)}.")
    if num_not_started:
        sentences.append(f"Planned, but without a run directory: {num_runs(num_not_started)}.")
    if table.empty:
        sentences.append("The sweep folder holds no run.")
    return sentences + [f"{told}: its scores do not all compare." for told in _mixed_protocols(table)]


def _mixed_protocols(table: pd.DataFrame) -> list[str]:
    """Tasks measured by several procedures within one objective; two objectives may well have their own."""
    groups = table.groupby("objective") if "objective" in table else ()
    return [
        f"{task} of {objective} was measured by {len(names)} protocols"
        for objective, runs in groups
        for task, names in protocols(runs).items()
        if len(names) > 1
    ]


def protocols(table: pd.DataFrame) -> dict[str, list[str]]:
    """The procedures, with versions, by which each task was measured."""
    columns = [
        name for name in table.columns if name.startswith("evaluation.") and name.endswith(".protocol")
    ]
    return {name.split(".")[1]: sorted(map(str, table[name].dropna().unique())) for name in columns}


def num_runs(count: int) -> str:
    """A number of runs in words: "1 run", "9 runs"."""
    return f"{count} run" if count == 1 else f"{count} runs"


def score(metric: str, value: float) -> str:
    """A metric as recorded: losses with four digits, fractions with three decimals."""
    if math.isnan(value):
        return ABSENT
    return number(value, 4) if is_loss(metric) else f"{value:.3f}"
