"""The delta method agrees with brute force: simulated studies, every one fitted."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from analysis.design.assumed import assumed_beliefs
from analysis.design.beliefs import Beliefs
from analysis.design.cells import Cell, Design, Runs
from analysis.design.noise import PRIOR_NOISE, Noise
from analysis.design.precision import precision
from analysis.design.ratio import log_ratio
from analysis.design.shapes import StudyShape, study_shapes
from analysis.design.simulate import simulate

COMPUTE = 4.5e20
SHAPES = {shape.name: shape for shape in study_shapes()}
SMALL_NOISE = Noise(cell=6e-5, run=4e-5, shared=1.0)


@pytest.mark.parametrize("name", ["3 x 3", "3 x 3, 2 seeds", "triangle", "4 x 5"])
@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_with_little_noise_the_expected_spread_is_that_of_simulated_studies(name: str, shared: float) -> None:
    beliefs = dataclasses.replace(assumed_beliefs(), noise=dataclasses.replace(SMALL_NOISE, shared=shared))
    design = SHAPES[name].design
    found = simulate(beliefs, design, COMPUTE, num_studies=600)
    assert float(np.std(found.log_ratio_R)) == pytest.approx(
        precision(beliefs, design, COMPUTE).spread, rel=0.1
    )


@pytest.mark.parametrize("name", ["3 x 5", "triangle", "triangle, 2 seeds in small cells", "4 x 5"])
@pytest.mark.parametrize("compute", [COMPUTE, 3e21])
def test_with_realistic_noise_it_is_within_twenty_percent_for_shapes_that_determine_the_laws(
    name: str, compute: float
) -> None:
    beliefs, design = assumed_beliefs(), SHAPES[name].design
    found = simulate(beliefs, design, compute, num_studies=600)
    assert found.spread == pytest.approx(precision(beliefs, design, compute).spread, rel=0.2)


def test_the_spread_is_that_of_least_squares_run_by_run() -> None:
    beliefs = dataclasses.replace(assumed_beliefs(), noise=Noise(cell=0.005, run=0.003, shared=0.4))
    cells = SHAPES["3 x 5"].design.cells
    runs = {cell: Runs(studied=1 + row % 2, rival=1 + row % 3) for row, cell in enumerate(cells)}
    found = precision(beliefs, Design(runs=runs), COMPUTE)
    assert found.spread == pytest.approx(dense_spread(beliefs, runs), rel=1e-6)


def dense_spread(beliefs: Beliefs, runs: dict[Cell, Runs]) -> float:
    """Standard deviation of ln r with every run a row, by dense matrices."""
    wanted = log_ratio(beliefs.studied, beliefs.rival, COMPUTE)
    rows, weight = [], []
    for side, belief, gradient_P in (
        ("studied", beliefs.studied, wanted.by_studied_P),
        ("rival", beliefs.rival, wanted.by_rival_P),
    ):
        of_side = [cell for cell, count in runs.items() for _ in range(getattr(count, side))]
        weight.append(gradient_P @ np.linalg.pinv(belief.jacobian(of_side)))
        rows += [(side, cell) for cell in of_side]
    covariance = np.zeros((len(rows), len(rows)))
    for one, (side, cell) in enumerate(rows):
        for two, (other_side, other_cell) in enumerate(rows):
            if cell == other_cell:
                shared = 1.0 if side == other_side else beliefs.noise.shared
                covariance[one, two] = shared * beliefs.noise.cell**2 + (one == two) * beliefs.noise.run**2
    moved = np.concatenate(weight)
    return math.sqrt(moved @ covariance @ moved)


def test_noise_that_the_objectives_share_cancels() -> None:
    design = SHAPES["triangle"].design
    spread = {
        shared: precision(
            dataclasses.replace(assumed_beliefs(), noise=Noise(cell=0.006, run=0.0, shared=shared)),
            design,
            COMPUTE,
        ).spread
        for shared in (0.0, 0.5, 1.0)
    }
    assert spread[1.0] < 0.5 * spread[0.0]
    assert spread[0.5] ** 2 == pytest.approx((spread[0.0] ** 2 + spread[1.0] ** 2) / 2)


def test_two_seeds_halve_the_variance_that_comes_from_runs() -> None:
    beliefs = dataclasses.replace(assumed_beliefs(), noise=Noise(cell=0.0, run=0.004, shared=1.0))
    one, two = (
        precision(beliefs, SHAPES[name].design, COMPUTE).spread for name in ("3 x 3", "3 x 3, 2 seeds")
    )
    assert two == pytest.approx(one / math.sqrt(2))


def test_the_interval_is_wider_than_the_spread_by_the_quantile_of_few_cells() -> None:
    found = precision(assumed_beliefs(), SHAPES["triangle"].design, COMPUTE)
    interval = found.interval()
    assert interval.identified and interval.lower is not None and interval.upper is not None
    assert interval.estimate == pytest.approx(1 / 1.3)
    assert math.log(interval.upper / interval.lower) == pytest.approx(2 * found.half_width())
    assert found.half_width() > 1.96 * found.spread
    assert 1 <= found.degrees_of_freedom <= 16


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([], "0 cells with both objectives, at least 8 are needed"),
        (list(SHAPES["the paper's 5 cells"].design.cells), "5 cells with both objectives"),
        (
            [cell for cell in SHAPES["4 x 5"].design.cells if cell.image_tower < "vit_l"],
            "2 image towers, at least 3",
        ),
        (
            [cell for cell in SHAPES["4 x 5"].design.cells if cell.samples_seen < 1e9],
            "2 values of samples_seen",
        ),
    ],
)
def test_a_design_that_no_interval_can_rest_on_says_what_it_lacks(cells: list[Cell], reason: str) -> None:
    found = precision(
        assumed_beliefs(), StudyShape(name="few", seeds=dict.fromkeys(cells, 1)).design, COMPUTE
    )
    assert reason in found.reason
    assert not found.interval().identified and "not identified" in found.text()


def test_a_cell_that_is_not_on_the_menu_is_refused() -> None:
    design = Design.paired({Cell(image_tower="vit_g14", samples_seen=10**9): 1})
    with pytest.raises(ValueError, match="cell vit_g14/1B: vit_g14 is not on the menu of superclass"):
        precision(assumed_beliefs(), design, COMPUTE)


@pytest.mark.parametrize("fields", [{"cell": -0.1}, {"shared": 1.1}, {"cell": 0.0, "run": 0.0}])
def test_impossible_noise_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="standard deviations of 0 or more"):
        dataclasses.replace(PRIOR_NOISE, **fields)
