"""What the figure of errors says in words: its caption and its text alternative, from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.figures import words
from analysis.filters import error_label, is_loss
from analysis.study.study import MetricStudy

Curves = Mapping[str, pd.DataFrame | None]


def error_caption(study: MetricStudy, runs: pd.DataFrame, curves: Curves) -> str:
    """How to read the figure, and what is not in it."""
    parts = [
        "One marker per run, colour by objective, shape by image_tower; thin lines join the samples_seen of one tower",
        "compute counts everything that is trained",
    ]
    if any(curve is not None for curve in curves.values()):
        parts.append(
            "thick: the least error over the towers of the study at each compute, from the fitted law "
            "(rings, the raw Pareto points, are not fitted: they favour lucky runs)"
        )
    is_dashed = any(curve is not None and curve["extrapolated"].any() for curve in curves.values())
    if is_dashed:
        parts.append("dashed: beyond the runs, in compute or in the samples of the best tower")
    if any(curve is not None and curve["mean_lower"].notna().any() for curve in curves.values()):
        level = f"{study.options.level:.0%}"
        parts.append(
            f"dark band: {level} of the mean, light band: {level} of a new run, each compute for itself"
            + ("; both are paler where the line is dashed" if is_dashed else "")
        )
    parts += [f"no band for {name}: {why}" for name, why in _without_band(study, curves).items()]
    parts += [
        f"no law for {name}: {study.sides[name].reason}" for name, curve in curves.items() if curve is None
    ]
    parts += _standings(runs)
    if is_loss(study.metric) and len(study.sides) > 1:
        parts.append("losses of different objectives are different quantities: their heights do not compare")
    return " ".join(words.sentence(part) for part in parts)


def error_alt(study: MetricStudy, runs: pd.DataFrame, curves: Curves) -> str:
    """The message of the figure for readers who do not see it."""
    scored = runs.dropna(subset=["error"])
    if scored.empty:
        parts = [f"{error_label(study.metric)} against training compute: no finished run has this metric yet"]
        return " ".join(words.sentence(part) for part in [*parts, *_standings(runs)])
    low, high = words.flops(scored["train_flops"].min()), words.flops(scored["train_flops"].max())
    parts = [
        f"{error_label(study.metric)} of {words.counted(len(scored), 'run')} "
        + (f"at {low} training FLOPs" if low == high else f"from {low} to {high} training FLOPs")
    ]
    parts += [_message(study, name, scored, curve) for name, curve in curves.items()]
    return " ".join(words.sentence(part) for part in [*parts, *_standings(runs)])


def _message(study: MetricStudy, name: str, scored: pd.DataFrame, curve: pd.DataFrame | None) -> str:
    own = scored[scored["objective"] == name]
    if curve is None:
        best = f", its least error is {words.number(own['error'].min())}" if len(own) else ""
        return f"{name} has no law ({study.sides[name].reason}){best}"
    fitted = curve if curve["extrapolated"].all() else curve[~curve["extrapolated"]]
    first, last = fitted.iloc[0], fitted.iloc[-1]
    text = (
        f"the frontier of {name} falls from {words.number(first['error'])} at {words.flops(first['train_flops'])} "
        f"to {words.number(last['error'])} at {words.flops(last['train_flops'])}"
    )
    if fitted["mean_lower"].notna().any():
        text += (
            f" (mean between {words.number(last['mean_lower'])} and {words.number(last['mean_upper'])} there)"
        )
    return text


def _without_band(study: MetricStudy, curves: Curves) -> dict[str, str]:
    reasons = {}
    for name, side in study.sides.items():
        curve = curves[name]
        if curve is not None and curve["mean_lower"].isna().all():
            reasons[name] = (
                side.refits.reason if side.refits and side.refits.reason else "the refits bound nothing"
            )
    return reasons


def _standings(runs: pd.DataFrame) -> list[str]:
    """How many runs are hollow, by why, and which are not drawn at all."""
    told = {
        "failed": "failed (hollow, top edge)",
        "not finished": "not finished or without this score (hollow, bottom edge)",
        "sealed": "sealed holdout (hollow with a cross, without its error)",
        "left out": "with an error but left out of the fit (hollow)",
    }
    counts = runs["standing"].value_counts()
    found = [f"{counts[name]} {text}" for name, text in told.items() if counts.get(name)]
    parts = [f"of all {words.counted(len(runs), 'run')}: {words.listed(found)}"] if found else []
    nowhere = runs.loc[runs["error"].isna() & runs["planned_train_flops"].isna(), "run_id"]
    if len(nowhere):
        parts.append(f"not drawn, as no plan states their compute: {', '.join(nowhere.astype(str))}")
    return parts
