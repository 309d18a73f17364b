"""Figures show the runs and laws they are given, in readable type, and bring their numbers along."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from simulated_sweep import SweepFolder, noisy_error, science

from analysis.figures import files, style
from analysis.figures.versus_compute import error_versus_compute, loss_panels, score_panels
from analysis.load import load_sweep, metric_columns
from analysis.old_study import study_metric

MIN_FONT_POINTS = 9


def drawings(folder: SweepFolder) -> list:
    table = load_sweep(folder.path)
    main, loss = (
        study_metric(table, name, num_refits=30) for name in ("linear_probe.top1", "held_out_loss.loss")
    )
    scores = [name for name in metric_columns(table) if "recall" in name]
    return [error_versus_compute(main), loss_panels(loss), score_panels(table, scores)]


@pytest.fixture
def partial(sweep_folder: SweepFolder) -> SweepFolder:
    sweep_folder.add_grid(noisy_error(1))
    sweep_folder.add(science("clip", "vit_tiny8", 65_536), "oom", reason="out of memory")
    sweep_folder.add(science("superclass", "vit_tiny8", 65_536), "running")
    sweep_folder.plan()
    return sweep_folder


def test_no_text_is_smaller_than_nine_points(partial: SweepFolder) -> None:
    for drawing in drawings(partial):
        files.png_bytes(drawing.figure)
        sizes = [text.get_fontsize() for text in drawing.figure.findobj(Text) if text.get_text()]
        assert min(sizes) >= MIN_FONT_POINTS


def test_the_axes_are_logarithmic_and_state_their_conventions(partial: SweepFolder) -> None:
    axes = drawings(partial)[0].figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() == "training FLOPs (model, 2 x multiply-adds, forward + backward)"
    assert axes.get_ylabel() == "linear probe error (1 - top1)"


def test_a_failed_run_is_a_hollow_marker_at_the_top_edge(partial: SweepFolder) -> None:
    axes = drawings(partial)[0].figure.axes[0]
    hollow = [line for line in axes.lines if line.get_color() == "white"]
    assert len(hollow) == 2
    heights = sorted(float(line.get_ydata()[0]) for line in hollow)
    assert heights[0] < 0.1 and heights[1] > 0.9
    assert {"failed", "not finished"} <= {text.get_text() for text in axes.texts}


def test_the_legend_does_not_cover_the_axes(partial: SweepFolder) -> None:
    figure = drawings(partial)[0].figure
    files.png_bytes(figure)
    assert not figure.legends[0].get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_every_point_of_the_fit_is_inside_the_axes(partial: SweepFolder) -> None:
    drawing = drawings(partial)[0]
    axes, runs = drawing.figure.axes[0], drawing.data.query("kind == 'run'").dropna(subset=["error"])
    assert (
        runs["train_flops"].between(*axes.get_xlim()).all() and runs["error"].between(*axes.get_ylim()).all()
    )


def test_losses_of_two_objectives_never_share_an_axis(partial: SweepFolder) -> None:
    drawing = drawings(partial)[1]
    assert [axes.get_title(loc="left") for axes in drawing.figure.axes] == ["superclass", "clip"]
    assert "do not compare" in drawing.caption


def test_the_data_of_a_figure_hold_its_runs_and_curves(partial: SweepFolder) -> None:
    data = drawings(partial)[0].data
    runs = data[data["kind"] == "run"]
    assert len(runs) == 20 and runs["error"].notna().sum() == 18
    curves = data[data["kind"] == "law"]
    assert set(curves["objective"]) == {"superclass", "clip"}
    assert (curves["lower"] <= curves["upper"]).all()


def test_an_empty_sweep_still_draws(sweep_folder: SweepFolder) -> None:
    for drawing in drawings(sweep_folder):
        assert isinstance(drawing.figure, Figure) and len(files.png_bytes(drawing.figure)) > 1000


def test_the_same_study_gives_the_same_svg(partial: SweepFolder) -> None:
    first, second = (files.svg_text(drawings(partial)[0].figure) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.9), (1e11, 1e19), (4.05, 4.6), (2e12, 9e13), (0.5, 0.52)])
def test_a_logarithmic_axis_gets_a_readable_number_of_ticks_inside_it(low: float, high: float) -> None:
    ticks = style.log_ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks) and np.all(np.diff(ticks) > 0)


@pytest.mark.parametrize(("value", "text"), [(1e13, "$10^{13}$"), (2e12, r"$2{\times}10^{12}$")])
def test_powers_of_ten_are_written_as_such(value: float, text: str) -> None:
    assert style.power_text(value) == text
