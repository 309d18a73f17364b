"""What the page states is what was found: the answer first, then every number it rests on."""

from __future__ import annotations

import numpy as np
import pytest
from page_reader import rows, section
from simulated_report import QUESTION, WRITTEN, Finished

from analysis.report.reproduce import Recipe, commands
from analysis.report.sensitivity import influence_on_conclusion


def test_the_question_and_the_answer_come_first(finished: Finished) -> None:
    body = finished.page.text
    assert finished.findings.main.comparison is not None
    answer = " ".join(finished.findings.main.comparison.sentence().split())
    assert body.index(QUESTION) < body.index(f"Answer: {answer}") < body.index("Figure 1.")
    assert finished.page.all("main")[0].all("h2")[0].text == "The answer: linear probe error (1 - top1)"


def test_the_answer_comes_with_probability_crossing_range_and_both_uncertainties(finished: Finished) -> None:
    comparison = finished.findings.main.comparison
    assert (
        comparison is not None and comparison.ratio is not None and comparison.reference_compute is not None
    )
    text = section(finished.page, "answer").text
    at = np.argmin(np.abs(np.log(comparison.compute_M / comparison.reference_compute)))
    better = comparison.probability_better_M[at]
    told = "above 0.99" if better > 0.995 else f"{better:.2f}"
    assert f"P(superclass has the smaller error) is {told}" in text
    assert "P(no crossing there)" in text and "Both objectives have points from" in text
    ratios = [one.ratio for one in finished.findings.by_form]
    assert f"across the {len(ratios)} forms that are as good" in text or len(ratios) == 1
    assert "No run was set aside as a holdout" in text


def test_the_ratio_table_states_what_ratio_at_gives(finished: Finished) -> None:
    comparison = finished.findings.main.comparison
    assert comparison is not None
    table = rows(finished.page, "superclass against clip at equal compute")
    within = [row for row in table if row["standing"] != "extrapolated"]
    assert float(within[0]["training FLOPs"]) == pytest.approx(comparison.compute_M[0], rel=0.01)
    found = comparison.ratio_at(float(comparison.compute_M[-1]))
    assert float(within[-1]["ratio"]) == pytest.approx(found.estimate, rel=0.01)
    assert found.lower is not None and float(within[-1]["95 % of the ratio lower"]) == pytest.approx(
        found.lower, rel=0.01
    )
    assert [row for row in table if row["standing"] == "extrapolated"]


def test_every_parameter_has_both_intervals_side_by_side(finished: Finished) -> None:
    side = finished.findings.main.sides["superclass"]
    assert side.fit is not None and side.refits is not None
    table = rows(finished.page, "Parameters with intervals by two methods (95 %)")
    mine = {
        row["parameter"]: row
        for row in table
        if (row["metric"], row["objective"]) == ("linear_probe.top1", "superclass")
    }
    assert list(mine) == list(side.fit.form.parameters)
    for name, row in mine.items():
        bootstrap = side.refits.parameter(name)
        assert float(row["estimate"]) == pytest.approx(side.fit.found.value(name), rel=0.01)
        for end, value in (("lower", bootstrap.lower), ("upper", bootstrap.upper)):
            told = row[f"bootstrap {end}"]
            assert told == "–" if value is None else float(told) == pytest.approx(value, rel=0.01)


def test_every_form_that_competed_has_its_merits(finished: Finished) -> None:
    selected = finished.findings.main.sides["clip"].selected
    assert selected is not None
    table = [
        row
        for row in rows(finished.page, "Forms that competed")
        if (row["metric"], row["objective"]) == ("linear_probe.top1", "clip")
    ]
    assert [row["form"] for row in table] == [one.forward.form.name for one in selected.candidates]
    excess = [float(row["AICc excess"]) for row in table if row["AICc excess"] != "–"]
    assert min(excess) == 0 and any("used" in row["role"] for row in table)


def test_every_run_has_its_cost_and_its_scores(finished: Finished) -> None:
    run_ids = set(finished.findings.table["run_id"])
    assert {row["run"] for row in rows(finished.page, "Runs: planned and measured")} == run_ids
    assert {row["run"] for row in rows(finished.page, "Scores of the runs")} == run_ids
    assert all(
        row["measured x planned"] == "1.10" for row in rows(finished.page, "Runs: planned and measured")
    )


def test_the_ledger_counts_the_runs_of_the_fits(finished: Finished) -> None:
    used, *_ = rows(finished.page, "Ledger: every rule that decides which runs are fitted")
    assert (used["rule"], used["runs"]) == ("used in the fits", "24")


def test_influence_is_the_factor_by_which_the_ratio_changes_without_a_run(finished: Finished) -> None:
    table = influence_on_conclusion(finished.findings.main)
    assert table is not None and len(table) == 24
    told = rows(
        finished.page, "Influence: by what the ratio is multiplied when a run, or its cell, is left out"
    )
    assert [row["run"] for row in told] == list(table["run_id"].head(len(told)))
    changes = table[["change_without_run", "change_without_cluster"]].abs().max(axis=1).dropna()
    assert np.all(np.diff(changes) <= 1e-12)
    assert told[0]["without the run"] == f"x {float(told[0]['without the run'][2:]):g}"


def test_all_studied_metrics_are_compared_and_adjusted_together(finished: Finished) -> None:
    table = {row["metric"]: row for row in rows(finished.page, "All metrics that were studied")}
    assert list(table) == list(finished.findings.studies)
    assert table["held_out_loss.loss"]["ratio [95 %]"] == "–"
    for metric, adjusted in finished.findings.adjusted_p.items():
        assert float(table[metric]["p adjusted (Holm)"]) == pytest.approx(adjusted, rel=0.01)
        assert adjusted >= float(table[metric]["p of equal errors"]) * 0.99


def test_commands_and_provenance_tell_how_to_get_the_page_again(finished: Finished) -> None:
    text = section(finished.page, "reproduce").text
    assert "scaling report sweeps/simulated.yaml" in text and "--metric linear_probe.top1" in text
    assert "deepspeed" in text and "launch sweeps/simulated.yaml" in text
    provenance = {row["what"]: row["value"] for row in rows(finished.page, "Provenance of this page")}
    assert provenance["page written (UTC)"] == WRITTEN.isoformat()
    assert provenance["refits of the bootstrap"] == "120, seed 0"
    assert provenance["last run finished (UTC)"] == "2026-11-21T05:00:00Z"
    assert "arXiv:2411.03313" in section(finished.page, "cite").text


def test_recorded_overrides_stand_in_the_commands(finished: Finished) -> None:
    recipe = Recipe(
        sweep_file="mine.yaml", settings=("fixed.learning_rate=1e-3",), accelerator="h200", num_devices=8
    )
    plan, launch, report = commands(finished.findings, recipe)
    assert plan.startswith(
        "scaling plan mine.yaml --set fixed.learning_rate=1e-3 --devices 8 --accelerator h200"
    )
    assert launch.startswith("deepspeed --num_accelerators 8 launch mine.yaml --set fixed.learning_rate=1e-3")
    assert report.startswith("scaling report mine.yaml")
