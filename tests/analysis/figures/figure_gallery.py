"""Every kind of figure, drawn from one study: (name of the kind, width) -> drawing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from simulated_study import CEILING, METRIC, study_of, sweep_table, true_law, with_failures

from analysis.comparison.compare import CompareOptions, Comparison, compare
from analysis.comparison.side import Side
from analysis.figures import style
from analysis.figures.collapse import collapsed_training_curves
from analysis.figures.difference import difference_versus_compute
from analysis.figures.drawing import Drawing
from analysis.figures.error import error_versus_compute
from analysis.figures.fan import forward_fan
from analysis.figures.identity import held_out, predicted_versus_measured_cost
from analysis.figures.influence import influence_bars
from analysis.figures.isoflop import isoflop_valleys
from analysis.figures.profiles import profile_panels
from analysis.figures.ratio import ratio_versus_compute
from analysis.figures.residuals import residual_panels
from analysis.figures.scores import score_panels
from analysis.figures.slices import slices
from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.forms.form import Floats
from analysis.forms.isoflop import Polynomial
from analysis.intervals.influence import influence
from analysis.intervals.profile import profile
from analysis.selection.forward import forward_validation
from analysis.selection.holdout import predicted_and_measured
from analysis.study.study import MetricStudy

WIDTHS: tuple[style.Width, ...] = ("full", "column")
Gallery = dict[tuple[str, style.Width], Drawing]
KINDS = (
    "collapse", "cost", "difference", "error", "fan", "held_out", "influence", "isoflop", "losses", "profiles",
    "ratio", "recalls", "recalls_by_samples", "recalls_by_tower", "residuals", "scores", "slices_by_samples",
    "slices_by_tower",
)  # fmt: skip


def gallery() -> Gallery:
    """All figures at both widths."""
    table = with_memory(with_failures(sweep_table()))
    study = study_of(table)
    looks = style.looks_of(table, list(study.sides))
    makers = {**_of_study(study), **_of_fit(study, looks), **_of_tables(table, looks)}
    comparison = comparison_of(study)
    makers["ratio"] = lambda width: ratio_versus_compute(comparison, looks, width=width)
    makers["difference"] = lambda width: difference_versus_compute(comparison, looks, width=width)
    assert tuple(sorted(makers)) == KINDS
    return {(kind, width): make(width) for kind, make in makers.items() for width in WIDTHS}


LOSS, RECALL = (
    "held_out_loss.loss",
    "retrieval.image_to_text_recall_at_10",
)  # a panel each; a name that is too long


def renamed(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The table with its scores as those of another metric; a loss falls from 4 with them."""
    task = metric.partition(".")[0]
    score = 4 - table[METRIC] if metric == LOSS else table[METRIC]
    names = {name: name.replace("zero_shot", task) for name in table if "zero_shot" in str(name)}
    others = [name for name in table if "retrieval" in str(name)]
    return table.drop(columns=[METRIC, *others]).rename(columns=names).assign(**{metric: score})


Maker = Callable[[style.Width], Drawing]


def _of_study(study: MetricStudy) -> dict[str, Maker]:
    levels = isoflop_levels(study)
    losses, recalls = study_of(renamed(study.table, LOSS), metric=LOSS), study_of(
        renamed(study.table, RECALL), metric=RECALL
    )
    return {
        "losses": lambda width: error_versus_compute(losses, width=width),
        "recalls": lambda width: error_versus_compute(recalls, width=width),
        "recalls_by_tower": lambda width: slices(recalls, "image_tower", width=width),
        "recalls_by_samples": lambda width: slices(recalls, "samples_seen", width=width),
        "error": lambda width: error_versus_compute(study, width=width),
        "residuals": lambda width: residual_panels(study, width=width),
        "slices_by_tower": lambda width: slices(study, "image_tower", width=width),
        "slices_by_samples": lambda width: slices(study, "samples_seen", width=width),
        "isoflop": lambda width: isoflop_valleys(study, levels, width=width),
    }


def _of_fit(study: MetricStudy, looks: style.Looks) -> dict[str, Maker]:
    fit = study.sides["superclass"].fit
    assert fit is not None
    score = forward_validation(fit.observations, fit.form, fit.options)
    profiles = [profile(fit, "floor"), profile(fit, "exponent_parameters")]
    changes = influence(fit, lambda theta_RP: CEILING / (1 + np.exp(-theta_RP[:, -1])))
    sealed = predicted_and_measured(fit, fit.observations.where(np.arange(len(fit.observations)) > 18))
    floor = fit.found.value("floor")
    return {
        "fan": lambda width: forward_fan(score, "superclass", METRIC, looks, width=width),
        "profiles": lambda width: profile_panels(profiles, fit, "superclass", METRIC, looks, width=width),
        "influence": lambda width: influence_bars(
            changes, "superclass", "floor", looks, estimate=floor, unit="error", width=width
        ),
        "held_out": lambda width: held_out(sealed, "superclass", METRIC, 0.95, looks, width=width),
    }


def _of_tables(table: pd.DataFrame, looks: style.Looks) -> dict[str, Maker]:
    rows = training_rows()
    return {
        "cost": lambda width: predicted_versus_measured_cost(table, looks, width=width),
        "scores": lambda width: score_panels(
            table, ["zero_shot.top1", "retrieval.recall_at_10"], looks, width=width
        ),
        "collapse": lambda width: collapsed_training_curves(rows, looks, width=width),
    }


def comparison_of(study: MetricStudy) -> Comparison:
    """The comparison of the two objectives of a study."""
    sides = [
        Side(objective=name, fit=side.fit, menu=side.menu, metric=study.metric)
        for name, side in study.sides.items()
        if side.fit and side.menu
    ]
    return compare(*sides, options=CompareOptions(num_refits=100, nested=False, sensitivity=False))


def isoflop_levels(study: MetricStudy) -> dict[str, dict[float, Fit]]:
    """Two levels of equal compute per objective, six towers each."""
    rng, levels = np.random.default_rng(1), {}
    for name, side in study.sides.items():
        assert side.menu is not None
        towers = np.geomspace(22e6, 304e6, 6)
        cost = np.exp(
            np.interp(np.log(towers), np.log(side.menu.parameters_T), np.log(side.menu.flops_per_sample_T))
        )
        levels[name] = {level: _level(name, level, towers, cost, rng) for level in (3e19, 3e20)}
    return levels


def _level(name: str, level: float, towers: Floats, cost: Floats, rng: np.random.Generator) -> Fit:
    error = true_law(name).predict(parameters=towers, samples_seen=level / cost) + rng.normal(
        0, 0.002, len(towers)
    )
    runs = [f"{name}-{level:g}-{index}" for index in range(len(towers))]
    return fit_form(Observations.of(error, parameters=towers, run_ids=runs), Polynomial("parameters", 3))


def with_memory(table: pd.DataFrame) -> pd.DataFrame:
    """The table with planned and measured memory, and a second score."""
    planned = np.linspace(2e10, 7e10, len(table))
    recall = 0.5 * table[METRIC]
    return table.assign(
        planned_peak_memory_bytes=planned,
        measured_peak_memory_bytes=1.05 * planned,
        measured_memory_source="allocator",
        **{"retrieval.recall_at_10": recall, "evaluation.retrieval.samples_seen": table["samples_seen"]},
    )


def training_rows(num_runs: int = 3) -> pd.DataFrame:
    """Losses of runs that follow 2 + (share of the run)**-0.3, so that they collapse once a floor of 2 is taken off."""
    frames = []
    for objective in ("superclass", "clip"):
        for run in range(num_runs):
            total = 1e6 * 4**run
            samples = np.linspace(total / 500, total, 500)
            loss = 2 + (1 + run) * (samples / total) ** -0.3
            columns = {"run_id": f"{objective}-{run}", "samples_seen": samples, "loss": loss}
            frames.append(pd.DataFrame(columns).assign(objective=objective))
    return pd.concat(frames, ignore_index=True)
