"""A floor that ended at 0 is left out of the stated law, and still moves in refits: bands and influence must see it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.figures.curves import frontier_curve
from analysis.filters import Selection
from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.bounded import Bounded
from analysis.forms.form import Floats
from analysis.frontier import Menu, frontier_errors
from analysis.intervals.asked import as_asked
from analysis.intervals.wild import refit
from analysis.report.sensitivity import influence_on_conclusion
from analysis.study.study import MetricStudy, ObjectiveStudy, StudyOptions

FORM = Bounded(("parameters", "samples_seen"), 0.999)
SIZES = np.asarray([22e6, 86e6, 304e6])
MENU = Menu(towers=("S", "B", "L"), parameters_T=SIZES, flops_per_sample_T=1e3 * SIZES)


@pytest.fixture(scope="module")
def side() -> ObjectiveStudy:
    """An objective without a floor, fitted with one: it ended at 0, and in some refits it does not."""
    size_N, samples_N = (values.ravel() for values in np.meshgrid(SIZES, np.geomspace(1e8, 4e9, 5)))
    u_N = 0.3 * (size_N / 86e6) ** -0.4 + 0.3 * (samples_N / 1e9) ** -0.4
    error_N = 0.999 * u_N / (1 + u_N) + 0.006 * np.random.default_rng(26).standard_normal(15)
    points = Observations.of(
        error_N,
        parameters=size_N,
        samples_seen=samples_N,
        train_flops=1e3 * size_N * samples_N,
        run_ids=[f"run-{row}" for row in range(15)],
    )
    fit = fit_form(points, FORM, FitOptions(loss="squares"))
    assert fit.asked == FORM and "floor" not in fit.form.parameters
    refits = refit(fit, num_refits=100)
    floor_R = [FORM.values(theta_P)["floor"] for theta_P in refits.kept_RP]
    assert np.mean(np.asarray(floor_R) > 0.02) > 0.1
    columns = {"train_flops": points.covariates["train_flops"], "error": error_N, "run_id": points.run_ids}
    return ObjectiveStudy(
        objective="clip", points=pd.DataFrame(columns), fit=fit, selected=None, refits=refits, menu=MENU
    )


def frontier_of(fit: Fit, compute_M: Floats, theta_RP: Floats | None = None) -> Floats:
    theta_RP = np.asarray([fit.found.theta]) if theta_RP is None else theta_RP
    return frontier_errors(fit.form, theta_RP, fit.found.references, MENU, compute_M)


def test_the_band_of_the_frontier_moves_with_the_floors_of_the_refits(side: ObjectiveStudy) -> None:
    curve, refits = frontier_curve(side, farthest=1e22), side.refits
    assert curve is not None and refits is not None
    compute_M = curve["train_flops"].to_numpy()
    band = refits.curve(lambda theta_RP: frontier_of(refits.fit, compute_M, theta_RP))
    np.testing.assert_allclose(curve["mean_lower"], np.maximum(band.lower_M, 0))
    np.testing.assert_allclose(curve["mean_upper"], band.upper_M)


def test_the_influence_of_a_run_is_that_of_fitting_again_without_it(side: ObjectiveStudy) -> None:
    study = MetricStudy(
        metric="zero_shot.top1",
        table=side.points,
        selection=Selection(metric="zero_shot.top1", points=side.points, rules=()),
        sides={"clip": side},
        comparison=None,
        tuning=None,
        options=StudyOptions(),
    )
    found = influence_on_conclusion(study)
    assert found is not None and side.fit is not None
    points, at = side.fit.observations, np.asarray([side.points["train_flops"].max()])
    whole = frontier_of(as_asked(side.fit), at)[0, 0]
    floors = []
    for row, run_id in enumerate(points.run_ids):
        again = fit_form(points.where(np.arange(15) != row), FORM, side.fit.options)
        floors.append(again.found.values["floor"])
        told = found.set_index("run_id").loc[run_id, "factor_without_run"]
        assert told == pytest.approx(frontier_of(again, at)[0, 0] / whole, rel=2e-3)
    assert max(floors) > 0.02, "at least one run hides a floor"
