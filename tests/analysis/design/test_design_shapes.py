"""Shapes of a study: what they cost, what they are worth, and why the default is the default."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.comparison.compare import CompareOptions, compare
from analysis.comparison.side import Side
from analysis.design.assumed import assumed_beliefs
from analysis.design.beliefs import Belief, Beliefs
from analysis.design.cells import Cell
from analysis.design.precision import precision
from analysis.design.shapes import DEFAULT_SHAPE, ExpectedShape, expected_precision, study_shapes
from analysis.design.tables import default_reason, design_table
from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.published.pairs import train_flops

COMPUTE_M = (4.5e20, 3e21)
TOWERS = ("vit_s16", "vit_b16", "vit_l16", "vit_h14")


@pytest.fixture(scope="module")
def expected() -> dict[str, ExpectedShape]:
    found = expected_precision(assumed_beliefs(), COMPUTE_M, num_studies=200)
    return {one.shape.name: one for one in found}


def test_the_shapes_have_the_stated_cells() -> None:
    counts = {shape.name: (len(shape.seeds), shape.num_runs) for shape in study_shapes()}
    assert counts["the paper's 5 cells"] == (5, 10)
    assert counts["3 x 3"] == (9, 18) and counts["3 x 3, 2 seeds"] == (9, 36)
    assert counts["3 x 5"] == (15, 30) and counts["4 x 5"] == (20, 40)
    assert counts["triangle"] == (17, 34) and counts[DEFAULT_SHAPE] == (17, 46)
    triangle = next(shape for shape in study_shapes() if shape.name == "triangle")
    largest = {
        tower: max(c.samples_seen for c in triangle.seeds if c.image_tower == tower) for tower in TOWERS
    }
    assert list(largest.values()) == [12.8e9, 12.8e9, 4e9, 1.28e9]


def test_a_shape_costs_its_runs_and_cells_that_are_paid_for_are_free() -> None:
    beliefs, shape = assumed_beliefs(), study_shapes()[1]
    by_hand = sum(
        train_flops(tower, objective, samples)
        for tower in TOWERS[:3]
        for objective in ("clip", "superclass")
        for samples in (128_000_000, 512_000_000, 1_280_000_000)
    )
    assert shape.train_flops(beliefs) == pytest.approx(by_hand)
    paid = Cell(image_tower="vit_l16", samples_seen=1_280_000_000)
    saved = sum(train_flops("vit_l16", objective, 1_280_000_000) for objective in ("clip", "superclass"))
    assert shape.train_flops(beliefs, paid={paid}) == pytest.approx(by_hand - saved)
    assert shape.train_flops(beliefs, paid=set(shape.seeds)) == 0


def half_width(one: ExpectedShape, row: int, simulated: bool = False) -> float:
    return 1.96 * (one.simulated_M[row] if simulated else one.precision_M[row]).spread


# Half the width of ln r that an independent power study found for these shapes with the same noise and a true ratio of
# 1.3, by least squares on simulated studies of another law.
OTHER_STUDY = {
    ("the paper's 5 cells", 0): 0.651,
    ("3 x 3", 0): 0.317,
    ("3 x 3, 2 seeds", 0): 0.202,
    ("3 x 5", 0): 0.091,
    ("triangle", 0): 0.103,
    ("4 x 5", 0): 0.103,
    ("triangle", 1): 0.297,
    ("4 x 5", 1): 0.125,
}


@pytest.mark.parametrize(("name", "row"), list(OTHER_STUDY))
def test_widths_have_the_order_of_magnitude_of_an_independent_power_study(
    expected: dict[str, ExpectedShape], name: str, row: int
) -> None:
    other = OTHER_STUDY[name, row]
    assert other / 2.5 < half_width(expected[name], row) < 2.5 * other
    assert other / 2.5 < half_width(expected[name], row, simulated=True) < 2.5 * other


def test_the_default_costs_a_quarter_of_the_full_grid_and_is_as_narrow_at_the_middle_compute(
    expected: dict[str, ExpectedShape],
) -> None:
    default, full = expected[DEFAULT_SHAPE], expected["4 x 5"]
    assert default.train_flops < 0.26 * full.train_flops
    assert default.precision_M[0].half_width() < 1.05 * full.precision_M[0].half_width()


def test_the_default_is_narrower_than_every_shape_of_no_higher_price(
    expected: dict[str, ExpectedShape],
) -> None:
    default = expected[DEFAULT_SHAPE]
    for one in expected.values():
        if one.shape.name != DEFAULT_SHAPE and one.train_flops <= default.train_flops:
            for mine, other in zip(default.precision_M, one.precision_M, strict=True):
                assert mine.half_width() < other.half_width()


def test_the_reason_for_the_default_is_told_with_numbers(expected: dict[str, ExpectedShape]) -> None:
    told = default_reason(list(expected.values()), COMPUTE_M[0])
    assert told.startswith(f"{DEFAULT_SHAPE} (46 runs) costs") and "x of 4 x 5" in told
    assert expected[DEFAULT_SHAPE].precision_M[0].text() in told
    with pytest.raises(ValueError, match="is not among them"):
        default_reason([expected["3 x 3"]], COMPUTE_M[0])


@pytest.mark.slow
def test_the_expected_interval_is_about_as_wide_as_the_comparison_reports() -> None:
    beliefs, shape = assumed_beliefs(), next(shape for shape in study_shapes() if shape.name == "triangle")
    options = CompareOptions(num_refits=200, nested=False, sensitivity=False)
    generator, reported = np.random.default_rng(0), []
    for _ in range(9):
        sides = studied_and_rival(beliefs, list(shape.seeds), generator)
        found = compare(*sides, options=options).ratio_at(COMPUTE_M[0])
        assert found.lower is not None and found.upper is not None
        reported.append(math.log(found.upper / found.lower) / 2)
    expected = precision(beliefs, shape.design, COMPUTE_M[0]).half_width()
    assert expected / 1.6 < float(np.median(reported)) < 1.6 * expected


def studied_and_rival(
    beliefs: Beliefs, cells: list[Cell], generator: np.random.Generator
) -> tuple[Side, Side]:
    """A study with one run per cell, of the noise of the beliefs, all shared cell noise."""
    common_N = beliefs.noise.cell * generator.normal(size=len(cells))

    def side(belief: Belief) -> Side:
        x_NK, names = belief.x(cells), belief.law.form.covariates
        columns = {name: np.exp(x_NK[:, k]) * belief.law.references[name] for k, name in enumerate(names)}
        error_N = (
            belief.law.predict(**columns) + common_N + beliefs.noise.run * generator.normal(size=len(cells))
        )
        points = Observations.of(error_N, clusters=[cell.label for cell in cells], **columns)
        fit = fit_form(points, belief.law.form, FitOptions(loss="squares"))
        return Side(objective=belief.objective, fit=fit, menu=belief.menu)

    return side(beliefs.studied), side(beliefs.rival)


def test_the_papers_five_cells_carry_no_interval(expected: dict[str, ExpectedShape]) -> None:
    assert all("5 cells" in found.reason for found in expected["the paper's 5 cells"].precision_M)


def test_the_table_tells_cost_and_expected_ratio_of_every_shape(expected: dict[str, ExpectedShape]) -> None:
    headings, rows = design_table(list(expected.values()), COMPUTE_M)
    assert all(len(row) == len(headings) for row in rows) and len(rows) == len(expected)
    assert headings[5] == "ratio at 4.50e20 FLOPs" and headings[6].endswith("simulated")
    default = next(row for row in rows if row[0] == DEFAULT_SHAPE)
    assert default[1:3] == ("17", "46") and default[5].startswith("0.77 [")
    assert len(design_table(expected_precision(assumed_beliefs(), COMPUTE_M), COMPUTE_M)[0]) == 7
