"""Profiles, forward validation, residuals, slices, valleys: what they show is what was found, open or missing too."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from figure_gallery import isoflop_levels
from matplotlib.lines import Line2D
from simulated_study import METRIC, TOWERS, study_of, sweep_table

from analysis.figures import style
from analysis.figures.drawing import Drawing
from analysis.figures.fan import forward_fan
from analysis.figures.files import png_bytes
from analysis.figures.influence import influence_bars
from analysis.figures.isoflop import isoflop_valleys
from analysis.figures.profiles import profile_panels
from analysis.figures.residuals import residual_panels
from analysis.figures.slices import slices
from analysis.intervals.profile import Profile, profile
from analysis.selection.forward import ForwardScore, forward_validation
from analysis.study.study import MetricStudy

LOOKS = style.looks_of(sweep_table(seeds=1), ["superclass", "clip"])


@pytest.fixture(scope="module")
def study() -> MetricStudy:
    return study_of(sweep_table(), num_refits=20)


@pytest.fixture(scope="module")
def bare() -> MetricStudy:
    """A study of one run."""
    return study_of(sweep_table(("clip",), seeds=1).iloc[:1])


@pytest.fixture(scope="module")
def closed(study: MetricStudy) -> Profile:
    fit = study.sides["clip"].fit
    assert fit is not None
    return profile(fit, "exponent_samples_seen")


def lines(drawing: Drawing, gid: str) -> list[Line2D]:
    return [line for line in drawing.figure.findobj(Line2D) if (line.get_gid() or "").startswith(gid)]


def test_a_profile_crosses_its_threshold_at_the_ends_of_its_interval(
    study: MetricStudy, closed: Profile
) -> None:
    drawing = profile_panels([closed], study.sides["clip"].fit, "clip", METRIC, LOOKS)
    rise = np.interp(
        [closed.interval.lower, closed.interval.upper], drawing.data["value"], drawing.data["rise"]
    )
    np.testing.assert_allclose(rise, 1.0, atol=0.1)  # between values of the grid
    assert not lines(drawing, "open")


@pytest.mark.parametrize(("side", "marker"), [("lower", "<"), ("upper", ">")])
def test_an_open_side_of_a_profile_is_an_arrow(
    study: MetricStudy, closed: Profile, side: str, marker: str
) -> None:
    interval = dataclasses.replace(closed.interval, **{side: None})
    opened = dataclasses.replace(closed, interval=interval)
    drawing = profile_panels([opened], study.sides["clip"].fit, "clip", METRIC, LOOKS)
    assert [line.get_marker() for line in lines(drawing, "open")] == [marker]
    assert f"no {side} bound" in drawing.alt


def test_without_a_law_there_is_a_panel_that_says_so(bare: MetricStudy) -> None:
    fit = bare.sides["clip"].fit
    assert fit is not None
    found = [
        profile_panels([], fit, "clip", METRIC, LOOKS),
        forward_fan(ForwardScore(form=fit.form, folds=()), "clip", METRIC, LOOKS),
        residual_panels(bare),
    ]
    for drawing in found:
        assert drawing.data.empty and png_bytes(drawing.figure) and drawing.figure.axes[0].texts


def test_a_fan_never_shows_a_run_as_both_fitted_and_predicted(study: MetricStudy) -> None:
    fit = study.sides["superclass"].fit
    assert fit is not None
    drawing = forward_fan(
        forward_validation(fit.observations, fit.form, fit.options), "superclass", METRIC, LOOKS
    )
    for share, rows in drawing.data.groupby("share"):
        kinds = rows.groupby("kind")["train_flops"]
        assert rows["run_id"].is_unique and kinds.max()["fitted"] <= share * rows["train_flops"].max() * (
            1 + 1e-9
        )
        assert kinds.min()["predicted"] > kinds.max()["fitted"]


def test_residuals_are_measured_minus_predicted_of_the_stated_law(study: MetricStudy) -> None:
    data = residual_panels(study).data
    law = study.sides["clip"].fit.found
    own = data[data["objective"] == "clip"]
    predicted = law.predict(parameters=own["parameters"], samples_seen=own["samples_seen"])
    np.testing.assert_allclose(own["residual"], own["measured"] - predicted, atol=1e-15)


@pytest.mark.parametrize("by", ["image_tower", "samples_seen"])
def test_slices_are_the_surface_at_what_they_are_named_after(study: MetricStudy, by: str) -> None:
    data = slices(study, by).data
    law, curves = study.sides["superclass"].fit.found, data.query(
        "kind == 'surface' and objective == 'superclass'"
    )
    assert len(set(curves["slice"])) == (3 if by == "image_tower" else 4)
    expected = law.predict(parameters=curves["parameters"], samples_seen=curves["samples_seen"])
    np.testing.assert_allclose(curves["error"], expected, rtol=1e-12)


def test_slices_of_one_run_show_the_run(bare: MetricStudy) -> None:
    drawing = slices(bare, "image_tower")
    assert list(drawing.data["kind"]) == ["run"] and png_bytes(drawing.figure)


def test_the_bottoms_of_valleys_lie_below_their_curves_and_among_the_towers(study: MetricStudy) -> None:
    data = isoflop_valleys(study, isoflop_levels(study)).data
    bottoms = data[data["kind"].str.endswith("bottom")]
    assert {"polynomial bottom", "surface bottom"} == set(bottoms["kind"])
    sizes = [parameters for parameters, _ in TOWERS.values()]
    assert bottoms["parameters"].between(min(sizes), max(sizes)).all()
    for bottom in bottoms.to_dict("records"):
        curve = data[
            (data["kind"] == bottom["kind"].removesuffix(" bottom"))
            & (data["objective"] == bottom["objective"])
        ]
        curve = curve[curve["train_flops"] == bottom["train_flops"]]
        assert bottom["error"] <= curve["error"].min() + 1e-9


def test_the_surface_of_a_valley_spends_the_compute_of_its_level(study: MetricStudy) -> None:
    data = isoflop_valleys(study, isoflop_levels(study)).data
    side = study.sides["clip"]
    # the smallest tower
    curve = data.query("kind == 'surface' and objective == 'clip' and train_flops == 3e19").iloc[0]
    samples = 3e19 / side.menu.flops_per_sample_T.min()
    expected = float(side.fit.found.predict(parameters=curve["parameters"], samples_seen=samples))
    assert curve["error"] == pytest.approx(expected, rel=1e-9)


def test_without_levels_of_equal_compute_the_panels_say_so(study: MetricStudy) -> None:
    drawing = isoflop_valleys(study, {})
    assert (
        drawing.data.empty
        and "no two runs share a training compute" in drawing.alt
        and png_bytes(drawing.figure)
    )


def test_influence_names_the_most_influential_cell_and_those_that_cannot_be_left_out() -> None:
    changes = pd.DataFrame(
        {
            "run_id": ["a", "b", "c", "d"],
            "cluster": ["s/1", "s/1", "b/2", "l/3"],
            "leverage": [0.2, 0.2, 0.5, 1.0],
            "change_without_run": [0.01, -0.02, 0.2, np.nan],
            "change_without_cluster": [0.05, 0.05, -0.3, np.nan],
        }
    )
    drawing = influence_bars(changes, "clip", "compute ratio", LOOKS, estimate=0.8)
    assert "leaving out b/2 changes it most, by -0.3" in drawing.alt and "Without l/3 the rest" in drawing.alt
    assert [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()] == ["b/2", "s/1"]
    assert drawing.name == "influence_clip_compute_ratio"
