"""A sealed cell reaches no fit, and opening it leaves a record."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from simulated_surface import CEILING, SURFACE, surface_points

from analysis.filters import select_points
from analysis.fitting.fit import fit_form
from analysis.forms.bounded import Bounded
from analysis.selection.holdout import openings, predicted_and_measured, sealed_runs, unseal


def table() -> pd.DataFrame:
    """Six finished runs of two objectives."""
    rows = []
    for objective in ("superclass", "clip"):
        for rank, tower in enumerate(("vit_s16", "vit_b16", "vit_l16")):
            rows.append(
                {
                    "run_id": f"{objective}-{tower}",
                    "objective": objective,
                    "image_tower": tower,
                    "samples_seen": 1_000,
                    "status": "done",
                    "planned_train_flops": 10.0**rank,
                    "train_flops": 10.0**rank,
                    "measured_samples_seen": 1_000,
                    "linear_probe.top1": 0.5 + rank / 10,
                    "evaluation.linear_probe.samples_seen": 1_000,
                }
            )
    return pd.DataFrame(rows)


def test_sealed_runs_are_no_points_and_stand_in_the_ledger() -> None:
    sealed = ("superclass-vit_l16", "clip-vit_l16")
    selection = select_points(table(), "linear_probe.top1", sealed=sealed)
    assert not set(sealed) & set(selection.points["run_id"])
    assert next(rule for rule in selection.rules if rule.name == "sealed").run_ids == sealed


def test_a_holdout_stays_sealed_until_an_opening_is_recorded_and_no_record_is_lost(tmp_path: Path) -> None:
    holdout = ("clip-vit_l16", "superclass-vit_l16")
    assert sealed_runs(tmp_path, holdout) == set(holdout)
    first = unseal(tmp_path, holdout[:1], finished=["clip-vit_l16", "clip-vit_s16"])
    assert first.opened_by and first.opened_at.endswith("+00:00") and first.finished == ("clip-vit_l16",)
    assert sealed_runs(tmp_path, holdout) == {"superclass-vit_l16"}
    second = unseal(tmp_path, holdout, finished=[])
    assert openings(tmp_path) == (first, second)
    assert sealed_runs(tmp_path, holdout) == set()


def test_the_holdout_is_compared_with_a_fit_that_never_saw_it() -> None:
    points = surface_points(0.003)
    above_N = points.covariates["train_flops"] > 0.3 * points.covariates["train_flops"].max()
    fit = fit_form(points.where(~above_N), Bounded(SURFACE, CEILING))
    compared = predicted_and_measured(fit, points.where(above_N))
    assert set(compared["run_id"]).isdisjoint(fit.observations.run_ids)
    assert compared["inside"].mean() > 0.7
    assert ((compared["lower"] < compared["predicted"]) & (compared["predicted"] < compared["upper"])).all()
