"""Studies with a known truth: two objectives on a grid of towers and samples, with runs in every standing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.filters import is_loss, select_points
from analysis.fitting.fit import fit_form
from analysis.forms.bounded import Bounded
from analysis.forms.form import Form, Law
from analysis.forms.powers import PowerSum
from analysis.intervals.wild import refit
from analysis.study.points import menu_of, observations_of
from analysis.study.study import MetricStudy, ObjectiveStudy, StudyOptions, fit_options
from analysis.study.tuned import objectives_of

TOWERS = {"vit_s16": (22e6, 14e9), "vit_b16": (86e6, 53e9), "vit_l16": (304e6, 185e9)}
"""Parameters of the image tower and training FLOPs of a sample."""
SAMPLES = (32e6, 128e6, 512e6, 2e9)
CEILING = 0.999
METRIC = "zero_shot.top1"
TRUTH = {
    "superclass": {"scale_parameters": 0.20, "scale_samples_seen": 0.42},
    "clip": {"scale_parameters": 0.21, "scale_samples_seen": 0.48},
}
OVERHEAD = {"superclass": 1.05, "clip": 1.45}  # of everything that is trained, over the image tower
SHARED = {"exponent_parameters": 0.5, "exponent_samples_seen": 0.45, "floor": 0.2}
REFERENCES = {"parameters": 86e6, "samples_seen": 256e6}


def true_law(objective: str) -> Law:
    """The law behind the errors of an objective."""
    form = Bounded(("parameters", "samples_seen"), CEILING)
    theta = form.theta(TRUTH[objective] | SHARED)
    return Law(form=form, theta=tuple(map(float, theta)), references=REFERENCES)


def sweep_table(
    objectives: tuple[str, ...] = ("superclass", "clip"),
    *,
    noise: float = 0.004,
    seeds: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """Finished runs of every cell, `seeds` of each."""
    rng, rows = np.random.default_rng(seed), []
    for objective in objectives:
        for tower, (parameters, flops) in TOWERS.items():
            for samples in SAMPLES:
                error = float(true_law(objective).predict(parameters=parameters, samples_seen=samples))
                for repeat in range(seeds):
                    compute = flops * OVERHEAD[objective] * samples
                    rows.append(
                        {
                            "run_id": f"{objective}-{tower}-{samples / 1e6:.0f}M-s{repeat}",
                            "objective": objective,
                            "image_tower": tower,
                            "samples_seen": samples,
                            "seed": repeat,
                            "status": "done",
                            "train_flops": compute,
                            "planned_train_flops": compute,
                            "planned_device_hours": compute / 4e14 / 3600,
                            "measured_device_hours": compute
                            / 4e14
                            / 3600
                            * np.exp(0.1 * rng.standard_normal()),
                            "measured_samples_seen": samples,
                            "parameters.image_tower": parameters,
                            METRIC: 1 - error - noise * rng.standard_normal(),
                            "zero_shot.chance": 1 - CEILING,
                            "evaluation.zero_shot.num_samples": 50_000,
                            "evaluation.zero_shot.samples_seen": samples,
                        }
                    )
    return pd.DataFrame(rows)


def with_failures(table: pd.DataFrame) -> pd.DataFrame:
    """The table with three runs that have no score: two failed, one still running."""
    changed = table.copy()
    for row, status in ((4, "running"), (len(table) // 2 - 4, "oom"), (len(table) - 5, "diverged")):
        changed.loc[row, ["status", "train_flops", METRIC]] = [status, np.nan, np.nan]
    return changed


def study_of(
    table: pd.DataFrame, *, metric: str = METRIC, num_refits: int = 60, sealed: frozenset[str] = frozenset()
) -> MetricStudy:
    """The study of a table with the true form, without a comparison."""
    selection = select_points(table, metric, sealed=sealed)
    sides = {}
    for objective in objectives_of(table):
        points = selection.points[selection.points["objective"] == objective].reset_index(drop=True)
        fit = (
            fit_form(observations_of(points, metric), form_of(metric), fit_options(metric))
            if len(points)
            else None
        )
        sides[objective] = ObjectiveStudy(
            objective=objective,
            points=points,
            fit=fit,
            selected=None,
            refits=refit(fit, num_refits=num_refits) if fit and fit.law else None,
            menu=menu_of(points) if len(points) else None,
        )
    return MetricStudy(
        metric=metric,
        table=table,
        selection=selection,
        sides=sides,
        comparison=None,
        tuning=None,
        options=StudyOptions(num_refits=num_refits, sealed=sealed),
    )


def form_of(metric: str) -> Form:
    """The surface of an error rate, or of a loss."""
    terms = ("parameters", "samples_seen")
    return PowerSum(terms) if is_loss(metric) else Bounded(terms, CEILING)
