"""Costs, scores, the opened holdout and training curves: from tables alone, with whatever of them there is."""

import numpy as np
import pandas as pd
import pytest
from figure_gallery import training_rows, with_memory
from simulated_study import METRIC, sweep_table, with_failures

from analysis.figures import style
from analysis.figures.collapse import collapse_data, collapsed_training_curves, spread
from analysis.figures.files import png_bytes
from analysis.figures.identity import held_out, predicted_versus_measured_cost
from analysis.figures.scores import score_panels

LOOKS = style.looks_of(sweep_table(seeds=1), ["superclass", "clip"])


def test_costs_compare_only_runs_with_both_and_memory_only_where_an_allocator_counted_it() -> None:
    table = with_memory(sweep_table(seeds=1))
    table.loc[0, "measured_memory_source"] = "resident set"
    table.loc[1, "measured_device_hours"] = np.nan
    data = predicted_versus_measured_cost(table, LOOKS).data
    counts = data["quantity"].value_counts()
    assert counts["device-hours"] == counts["peak memory per device (GB)"] == len(table) - 1
    memory = data[data["quantity"] != "device-hours"]
    np.testing.assert_allclose(memory["measured"] / memory["predicted"], 1.05)
    assert memory["predicted"].between(20, 70).all()  # GB


def test_what_keeps_costs_from_comparing_like_with_like_is_told() -> None:
    table = with_memory(sweep_table(seeds=1))
    table.loc[0, "measured_memory_source"] = "resident set"
    table["planned_data_bytes"], table["measured_data_bytes"] = 20e9, 19e9
    drawing = predicted_versus_measured_cost(table, LOOKS)
    assert (drawing.data.loc[drawing.data["quantity"] == "data read (GB)", "measured"] == 19).all()
    assert "1 run measured a resident set instead" in drawing.caption
    assert "what is offloaded to the host is in neither" in drawing.caption
    assert "Measured data read: 0.95 x planned" in drawing.alt


def test_the_words_of_the_cost_figure_state_measured_over_planned() -> None:
    table = sweep_table(seeds=1)
    table["measured_device_hours"] = 1.3 * table["planned_device_hours"]
    alt = predicted_versus_measured_cost(table, LOOKS).alt
    assert alt == f"Measured device-hours: 1.3 x planned ({len(table)} runs, 1.3 to 1.3)."


def test_without_costs_scores_or_losses_there_is_a_panel_that_says_so() -> None:
    table = sweep_table(seeds=1)[["run_id", "objective", "image_tower", "train_flops"]]
    no_rows = pd.DataFrame(columns=["objective", "run_id", "samples_seen", "loss"])
    for drawing in (
        predicted_versus_measured_cost(table, LOOKS),
        score_panels(table, [], LOOKS),
        collapsed_training_curves(no_rows, LOOKS),
    ):
        assert png_bytes(drawing.figure) and drawing.figure.axes[0].texts and drawing.alt


def test_a_task_and_its_label_head_share_a_panel() -> None:
    table = with_failures(sweep_table(seeds=1))
    table["zero_shot_head.top1"] = table[METRIC].where(table["objective"] == "superclass")
    drawing = score_panels(table, [METRIC, "zero_shot_head.top1"], LOOKS)
    (axes,) = drawing.figure.axes
    assert axes.get_title(loc="left") == "zero shot\ntop1"
    assert drawing.data.columns[-1] == "zero_shot.chance"


def test_the_opened_holdout_counts_what_its_intervals_held() -> None:
    found = pd.DataFrame(
        {
            "run_id": ["a", "b"],
            "train_flops": [1e20, 2e20],
            "predicted": [0.4, 0.35],
            "lower": [0.38, 0.33],
            "upper": [0.42, 0.37],
            "measured": [0.41, 0.39],
            "inside": [True, False],
        }
    )
    drawing = held_out(found, "clip", METRIC, 0.95, LOOKS)
    assert drawing.alt.startswith("1 of 2 sealed runs of clip lies inside the 95% interval")
    assert held_out(found.iloc[:0], "clip", METRIC, 0.95, LOOKS).alt.startswith("0 of 0 sealed runs")


def test_curves_of_one_shape_collapse_once_their_floor_is_taken_off() -> None:
    rows = training_rows()  # 2 + amplitude x share**-0.3, with amplitudes of 1, 2 and 3
    collapsed = collapse_data(rows[rows["objective"] == "clip"], {"clip": 2.0})
    raw = collapse_data(rows[rows["objective"] == "clip"], {})
    assert spread(collapsed) == pytest.approx(0.0, abs=2e-3)
    assert spread(raw) > 10 * spread(collapsed)
    ends = collapsed.groupby("run_id").last()
    np.testing.assert_allclose(ends["normalised"], 1.0, atol=0.02)  # the last bin ends before the run


def test_a_floor_above_a_final_loss_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"clip-0: its final loss 3\.\d+ is not above the floor 9 of clip"):
        collapse_data(training_rows(1), {"clip": 9.0})


def test_one_run_has_nothing_to_collapse_onto() -> None:
    rows = training_rows(1)
    drawing = collapsed_training_curves(rows[rows["objective"] == "clip"], LOOKS)
    assert "one run, so nothing to collapse onto" in drawing.alt and len(drawing.figure.axes) == 2
