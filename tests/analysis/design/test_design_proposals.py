"""What to train next: narrower with every pair, within the budget, and better than chance at the same price."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.side import Side
from analysis.design.assumed import assumed_beliefs
from analysis.design.beliefs import Belief
from analysis.design.cells import Cell, Design, grid
from analysis.design.greedy import MOST_SEEDS, Candidate
from analysis.design.precision import precision
from analysis.design.propose import (
    H100_FLOPS_PER_HOUR,
    Proposal,
    candidates,
    measured_flops_per_hour,
    propose,
    propose_for,
)
from analysis.design.shapes import SAMPLES_SEEN, TOWERS, study_shapes
from analysis.design.simulate import simulate
from analysis.design.tables import proposal_table
from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions

COMPUTE = 4.5e20
BELIEFS = assumed_beliefs()
SHAPES = {shape.name: shape for shape in study_shapes()}
START = SHAPES["3 x 3"].design
PRICED = candidates(BELIEFS, grid(TOWERS, SAMPLES_SEEN))


def proposal(budget: float, start: Design = START, priced: tuple[Candidate, ...] = PRICED) -> Proposal:
    return propose(BELIEFS, start, priced, budget=budget, compute=COMPUTE)


def random_pairs(generator: np.random.Generator, budget: float) -> Design:
    """START with random affordable pairs until nothing is affordable."""
    design = START
    while possible := [one for one in PRICED if one.device_hours <= budget]:
        chosen = possible[int(generator.integers(len(possible)))]
        design, budget = design.with_pair(chosen.cell), budget - chosen.device_hours
    return design


def grown(found: Proposal, start: Design = START) -> Design:
    for pair in found.pairs:
        start = start.with_pair(pair.cell)
    return start


@pytest.mark.parametrize("budget", [100.0, 1500.0, 5000.0])
def test_every_proposed_pair_narrows_the_interval_and_the_budget_holds(budget: float) -> None:
    found = proposal(budget)
    widths = [found.before.half_width(), *(pair.after.half_width() for pair in found.pairs)]
    assert len(found.pairs) and all(after < before for before, after in zip(widths, widths[1:]))
    assert found.device_hours <= budget
    assert found.after.half_width() == pytest.approx(precision(BELIEFS, grown(found), COMPUTE).half_width())


def test_a_larger_budget_is_worth_a_narrower_interval() -> None:
    widths = [proposal(budget).after.half_width() for budget in (0.0, 200.0, 1500.0, 10000.0)]
    assert widths == sorted(widths, reverse=True) and widths[-1] < 0.25 * widths[0]


def test_the_proposal_beats_random_pairs_of_the_same_price() -> None:
    generator = np.random.default_rng(0)
    ours = proposal(1500.0).after.half_width()
    theirs = [precision(BELIEFS, random_pairs(generator, 1500.0), COMPUTE).half_width() for _ in range(40)]
    assert sum(ours < width for width in theirs) >= 38
    assert ours < 0.75 * float(np.median(theirs))


def test_the_proposal_beats_random_pairs_in_simulated_studies() -> None:
    generator = np.random.default_rng(1)
    ours = simulate(BELIEFS, grown(proposal(1500.0)), COMPUTE).spread
    theirs = [simulate(BELIEFS, random_pairs(generator, 1500.0), COMPUTE).spread for _ in range(6)]
    assert ours < float(np.median(theirs))


def test_what_is_paid_for_costs_nothing_and_comes_first_and_once() -> None:
    paid = {Cell(image_tower="vit_l16", samples_seen=SAMPLES_SEEN[4])}
    priced = candidates(BELIEFS, grid(TOWERS, SAMPLES_SEEN), paid=paid)
    found = proposal(100.0, priced=priced)
    assert found.pairs[0].cell in paid and found.pairs[0].device_hours == 0
    assert [pair.cell for pair in found.pairs].count(found.pairs[0].cell) == 1
    assert found.device_hours <= 100.0
    assert found.after.half_width() < proposal(100.0).after.half_width()
    nothing = proposal(0.0, priced=priced)
    assert [pair.cell for pair in nothing.pairs] == list(paid)


def test_no_cell_gets_more_seeds_than_its_own_noise_allows_to_trust() -> None:
    runs = grown(proposal(20_000.0)).runs.values()
    assert max(count.studied for count in runs) == MOST_SEEDS
    assert all(count.studied == count.rival for count in runs)


def test_from_nothing_the_first_pairs_are_those_that_an_interval_needs_at_all() -> None:
    found = proposal(2000.0, start=Design(runs={}))
    assert "0 cells" in found.before.reason and not found.after.reason
    assert len({pair.cell for pair in found.pairs[:8]}) == 8


def test_hours_follow_the_measured_speed_of_each_objective() -> None:
    cell = Cell(image_tower="vit_b16", samples_seen=512_000_000)
    (one,) = candidates(BELIEFS, [cell], flops_per_hour={"superclass": 1e18, "clip": 0.5e18})
    flops = BELIEFS.studied.train_flops(cell) / 1e18 + BELIEFS.rival.train_flops(cell) / 0.5e18
    assert one.device_hours == pytest.approx(flops)


def test_the_speed_is_that_of_finished_runs_then_of_the_plan_then_assumed() -> None:
    rows = {
        "objective": ["clip", "clip", "clip", "superclass", "lit"],
        "train_flops": [4e18, 6e18, None, None, None],
        "measured_device_hours": [2.0, 2.0, None, None, None],
        "planned_train_flops": [1e18, 1e18, 1e18, 5e18, None],
        "planned_device_hours": [1.0, 1.0, 1.0, 2.0, None],
    }
    assert measured_flops_per_hour(pd.DataFrame(rows)) == {
        "clip": 2.5e18,
        "superclass": 2.5e18,
        "lit": pytest.approx(H100_FLOPS_PER_HOUR),
    }


def test_a_study_with_fits_gets_a_proposal_from_its_own_residuals() -> None:
    found = propose_for(*simulated_sides(), grid(TOWERS, SAMPLES_SEEN), budget=1500.0, compute=COMPUTE)
    assert found.before.half_width() > found.after.half_width()
    assert found.noise.source.startswith("residuals of the fits")
    assert "1,500 device-hours" in found.sentence() and "[" in found.sentence()


def test_the_finished_runs_of_both_sides_are_the_design() -> None:
    assert Design.of_sides(*simulated_sides()).runs == dict(
        sorted(SHAPES["3 x 3, 2 seeds"].design.runs.items())
    )


def test_samples_that_differ_by_less_than_a_batch_are_one_cell() -> None:
    studied, rival = simulated_sides()
    points = rival.fit.observations
    columns = points.covariates | {"samples_seen": points.covariates["samples_seen"] * 0.9995}
    fit = dataclasses.replace(rival.fit, observations=dataclasses.replace(points, covariates=columns))
    design = Design.of_sides(studied, dataclasses.replace(rival, fit=fit), grid(TOWERS, SAMPLES_SEEN))
    assert design.runs == Design.of_sides(studied, rival).runs


def simulated_sides() -> tuple[Side, Side]:
    generator = np.random.default_rng(3)
    cells = [cell for cell in START.cells for _ in range(2)]
    return side_of(BELIEFS.studied, cells, generator), side_of(BELIEFS.rival, cells, generator)


def side_of(belief: Belief, cells: list[Cell], generator: np.random.Generator) -> Side:
    x_NK = belief.x(cells)
    columns = {
        name: np.exp(x_NK[:, k]) * belief.law.references[name] for k, name in enumerate(belief.law.references)
    }
    error_N = belief.law.predict(**columns) + 0.002 * generator.normal(size=len(cells))
    points = Observations.of(error_N, clusters=[cell.label for cell in cells], **columns)
    fit = fit_form(points, belief.law.form, FitOptions(loss="squares"))
    return Side(objective=belief.objective, fit=fit, menu=belief.menu)


def test_the_table_has_a_row_for_now_and_one_per_cell_with_its_price() -> None:
    found = proposal(1500.0)
    headings, rows = proposal_table(found)
    assert rows[0][0] == "now" and rows[-1][3] == found.after.text()
    assert sum(int(row[1]) for row in rows[1:]) == len(found.pairs)
    assert headings[0] == "train next (both objectives)" and {len(row) for row in rows} == {len(headings)}


def test_a_budget_that_buys_nothing_is_told() -> None:
    assert "no candidate narrows" in proposal(1.0).sentence()


def test_impossible_prices_and_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="cell vit_s16/128M: nan device-hours"):
        Candidate(cell=Cell(image_tower="vit_s16", samples_seen=128_000_000), device_hours=math.nan)
    with pytest.raises(ValueError, match="budget -1"):
        proposal(-1)
