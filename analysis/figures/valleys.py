"""IsoFLOP levels as rows: runs of equal compute, the polynomial through them, and what the surface says there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.fitting.fit import Fit
from analysis.forms.form import Floats
from analysis.forms.isoflop import valley
from analysis.study.study import MetricStudy, ObjectiveStudy

CURVE_POINTS = 60
Levels = Mapping[str, Mapping[float, Fit]]
"""By objective and training FLOPs: the fit of an IsoFLOP polynomial to the runs of that compute, whether it found a
law or not."""


def isoflop_data(study: MetricStudy, levels: Levels) -> pd.DataFrame:
    """kind ("run", "polynomial", "surface", or "<curve> bottom"), objective, train_flops, parameters, error, run_id."""
    frames = []
    for name, of_objective in levels.items():
        for compute, fit in sorted(of_objective.items()):
            parts = [_runs(fit), *_polynomial(fit), *_surface(study.sides[name], compute, fit)]
            frames += [part.assign(objective=name, train_flops=compute) for part in parts]
    columns = ["kind", "objective", "train_flops", "parameters", "error", "run_id", "status"]
    return (
        pd.concat(frames, ignore_index=True).reindex(columns=columns)
        if frames
        else pd.DataFrame(columns=columns)
    )


def _runs(fit: Fit) -> pd.DataFrame:
    seen = fit.observations
    return pd.DataFrame(
        {
            "kind": "run",
            "parameters": seen.covariates["parameters"],
            "error": seen.error_N,
            "run_id": seen.run_ids,
        }
    )


def _polynomial(fit: Fit) -> list[pd.DataFrame]:
    """The curve of the polynomial between its runs, and its bottom where it has one among them."""
    if fit.law is None:
        return []
    low, high = _ends(fit)
    along = np.geomspace(low, high, CURVE_POINTS)
    curve = pd.DataFrame(
        {"kind": "polynomial", "parameters": along, "error": fit.law.predict(parameters=along)}
    )
    found = valley(fit.law, low, high)
    if found.optimum is None:
        return [curve]
    bottom = {"kind": ["polynomial bottom"], "parameters": [found.optimum], "error": [found.error]}
    return [curve, pd.DataFrame({**bottom, "status": [found.status.value]})]


def _surface(side: ObjectiveStudy, compute: float, fit: Fit) -> list[pd.DataFrame]:
    """The surface at this compute between the smallest and the largest tower, and its bottom if not at an end."""
    law = side.fit.law if side.fit else None
    if law is None or side.menu is None or set(law.form.covariates) != {"parameters", "samples_seen"}:
        return []
    along = np.geomspace(*_ends(fit), CURVE_POINTS)
    error = law.predict(parameters=along, samples_seen=compute / _flops_per_sample(side, along))
    curve = pd.DataFrame({"kind": "surface", "parameters": along, "error": error})
    least = int(error.argmin())
    inside = 0 < least < CURVE_POINTS - 1
    bottom = curve.iloc[[least]].assign(kind="surface bottom", status="ok")
    return [curve, bottom] if inside else [curve]


def _flops_per_sample(side: ObjectiveStudy, parameters: Floats) -> Floats:
    """Training FLOPs of a sample of a tower of any size, log-linear between the towers of the menu."""
    assert side.menu is not None, "only a menu knows what a sample costs"
    order = np.argsort(side.menu.parameters_T)
    known, cost = np.log(side.menu.parameters_T[order]), np.log(side.menu.flops_per_sample_T[order])
    return np.asarray(np.exp(np.interp(np.log(parameters), known, cost)))


def _ends(fit: Fit) -> tuple[float, float]:
    parameters = fit.observations.covariates["parameters"]
    return float(parameters.min()), float(parameters.max())
