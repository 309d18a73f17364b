"""Error against compute: every run has a place, nothing sealed is told, and a missing law still gives a figure."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from figure_gallery import Gallery
from matplotlib.lines import Line2D
from simulated_study import METRIC, study_of, sweep_table, with_failures

from analysis.figures.error import error_versus_compute
from analysis.figures.files import csv_text, png_bytes, provenance_text
from analysis.frontier import beyond_samples, frontier


def lines_of(drawing, start: str) -> list[Line2D]:
    return [line for line in drawing.figure.findobj(Line2D) if (line.get_gid() or "").startswith(start)]


def test_the_thick_line_is_the_frontier_that_the_surface_implies(drawn: Gallery) -> None:
    study = study_of(with_failures(sweep_table()))
    (line,) = [
        line for line in lines_of(drawn["error", "full"], "frontier.clip") if "extra" not in line.get_gid()
    ]
    side = study.sides["clip"]
    compute, error = (np.asarray(values, dtype=float) for values in line.get_data())
    drawn_there = np.isfinite(error)
    assert drawn_there.any() and not beyond_samples(side.fit.found, side.menu, compute[drawn_there]).any()
    implied = frontier(side.fit.found, side.menu, compute).error_M
    np.testing.assert_allclose(error[drawn_there], implied[drawn_there], rtol=1e-12)


def test_every_scored_run_is_a_filled_marker_and_every_other_one_hollow(drawn: Gallery) -> None:
    drawing = drawn["error", "full"]
    runs = drawing.data[drawing.data["kind"] == "run"]
    filled = sum(len(line.get_xdata()) for line in lines_of(drawing, "fitted."))
    assert filled == (runs["standing"] == "fitted").sum() == 45
    hollow = lines_of(drawing, "failed.") + lines_of(drawing, "not-finished.")
    assert len(hollow) == 3 and {line.get_markerfacecolor() for line in hollow} == {"white"}
    heights = {line.get_gid().partition(".")[0]: float(line.get_ydata()[0]) for line in hollow}
    assert heights["failed"] > 0.9 and heights["not-finished"] < 0.1
    assert "2 failed" in drawing.caption and "1 not finished" in drawing.alt


def test_a_raw_pareto_point_is_one_that_no_cheaper_run_beats(drawn: Gallery) -> None:
    runs = drawn["error", "full"].data.query("standing == 'fitted'")
    for name, own in runs.groupby("objective"):
        beaten = [
            ((own["train_flops"] <= c) & (own["error"] < e)).any()
            for c, e in zip(own["train_flops"], own["error"])
        ]
        assert list(own["pareto"].astype(bool)) == [not one for one in beaten], name


def test_a_sealed_run_shows_where_it_is_and_never_what_it_scored() -> None:
    table = sweep_table(seeds=1)
    sealed = frozenset(
        table.loc[(table["image_tower"] == "vit_l16") & (table["samples_seen"] == 2e9), "run_id"]
    )
    drawing = error_versus_compute(study_of(table, sealed=sealed, num_refits=20))
    rows = drawing.data[drawing.data["run_id"].isin(sealed)]
    assert set(rows["standing"]) == {"sealed"} and rows["error"].isna().all()
    assert len(lines_of(drawing, "sealed.")) == 2 and "2 sealed" in drawing.caption
    everything = csv_text(drawing) + provenance_text(drawing) + drawing.caption + drawing.alt
    for score in table.loc[table["run_id"].isin(sealed), METRIC]:
        assert f"{1 - score:.9g}" not in everything and f"{score:.9g}" not in everything


def test_even_a_study_that_let_a_sealed_score_through_does_not_show_it() -> None:
    table = sweep_table(("clip",), seeds=1)
    study = study_of(table, num_refits=20)
    sealed = str(table["run_id"].iloc[-1])
    leaking = dataclasses.replace(
        study, options=dataclasses.replace(study.options, sealed=frozenset({sealed}))
    )
    (row,) = error_versus_compute(leaking).data.query(f"run_id == '{sealed}'").to_dict("records")
    assert row["standing"] == "sealed" and np.isnan(row["error"]) and not row["pareto"]


def test_beyond_the_fitted_runs_a_frontier_is_dashed() -> None:
    table = sweep_table(seeds=1)
    sealed = frozenset(table.loc[table["samples_seen"] == 2e9, "run_id"])
    drawing = error_versus_compute(study_of(table, sealed=sealed, num_refits=20))
    curve = drawing.data.query("kind == 'frontier' and objective == 'clip'").reset_index(drop=True)
    first = int(np.argmax(curve["extrapolated"].astype(bool)))
    (dashed,) = [
        line for line in lines_of(drawing, "frontier.clip") if line.get_gid().endswith("extrapolated")
    ]
    compute, error = (np.asarray(values, dtype=float) for values in dashed.get_data())
    assert dashed.is_dashed() and first > 0
    assert compute[np.isfinite(error)].min() == pytest.approx(curve["train_flops"][first - 1])


def test_one_objective_gets_a_figure() -> None:
    drawing = error_versus_compute(study_of(sweep_table(("clip",)), num_refits=20))
    assert set(drawing.data["objective"]) == {"clip"} and png_bytes(drawing.figure)


@pytest.mark.parametrize("num_runs", [1, 3])
def test_too_few_runs_for_a_law_are_drawn_and_the_caption_says_why_there_is_none(num_runs: int) -> None:
    drawing = error_versus_compute(study_of(sweep_table(("superclass",), seeds=1).iloc[:num_runs]))
    assert set(drawing.data["kind"]) == {"run"} and len(drawing.data) == num_runs
    assert "No law for superclass: " in drawing.caption and f"of {num_runs} run" in drawing.alt
    assert "superclass: no law" in [text.get_text() for text in drawing.figure.axes[0].texts]
    assert png_bytes(drawing.figure)


def test_a_sweep_in_which_every_run_failed_still_draws() -> None:
    table = sweep_table(seeds=1)
    table = table.assign(status="oom", train_flops=np.nan, **{METRIC: np.nan})
    drawing = error_versus_compute(study_of(table))
    assert "no finished run has this metric yet" in drawing.alt and len(lines_of(drawing, "failed.")) == len(
        table
    )
    assert png_bytes(drawing.figure)


def test_a_run_whose_compute_no_plan_states_is_named_as_not_drawn() -> None:
    table = with_failures(sweep_table(("clip",), seeds=1).assign())
    lost = table.index[table["status"] == "running"]
    table.loc[lost, "planned_train_flops"] = np.nan
    drawing = error_versus_compute(study_of(table))
    assert (
        f"not drawn, as no plan states their compute: {table['run_id'][lost[0]]}"
        in drawing.caption.replace("Not", "not")
    )


def test_a_run_that_cannot_be_read_is_counted_and_named() -> None:
    table = sweep_table(("clip",), seeds=1)
    unreadable = pd.DataFrame([{"run_id": "torn", "status": "unreadable"}])
    drawing = error_versus_compute(study_of(pd.concat([table, unreadable], ignore_index=True)))
    assert "1 failed" in drawing.caption and drawing.caption.endswith("no plan states their compute: torn.")


def test_a_sweep_without_runs_still_draws() -> None:
    drawing = error_versus_compute(study_of(sweep_table().iloc[:0]))
    assert drawing.data.empty and "no finished run" in drawing.alt and png_bytes(drawing.figure)


def test_losses_of_two_objectives_never_share_an_axis() -> None:
    table = sweep_table(seeds=1).rename(columns={METRIC: "held_out_loss.loss"})
    table["held_out_loss.loss"] = 3 - table["held_out_loss.loss"]
    drawing = error_versus_compute(study_of(table, metric="held_out_loss.loss"))
    assert [axes.get_title(loc="left") for axes in drawing.figure.axes] == ["superclass", "clip"]
    assert "do not compare" in drawing.caption
    assert drawing.name == "held_out_loss_versus_compute"


def test_the_data_say_which_rows_are_runs_and_which_curves(drawn: Gallery) -> None:
    data = drawn["error", "full"].data
    curve = data[data["kind"] == "frontier"]
    assert set(curve["objective"]) == {"superclass", "clip"} and curve["run_id"].isna().all()
    assert (curve["mean_lower"] <= curve["error"]).all() and (
        curve["new_run_upper"] >= curve["mean_upper"]
    ).all()
    assert isinstance(data, pd.DataFrame) and data["run_id"].dropna().is_unique
