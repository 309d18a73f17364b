"""Shapes of a study of SuperClass against CLIP: what each costs and how narrow an interval it is worth.

Shapes.  M compute values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from analysis.design.assumed import TOWERS, menu_of
from analysis.design.beliefs import Beliefs
from analysis.design.cells import Cell, Design, grid
from analysis.design.precision import Precision, precision
from analysis.design.simulate import SimulatedRatios, simulate

SAMPLES_SEEN = (128_000_000, 512_000_000, 1_280_000_000, 4_000_000_000, 12_800_000_000)
TRIANGLE = (5, 5, 4, 3)  # numbers of samples of S, B, L and H: the largest towers stop at 1.28B
SMALL_FLOPS = 1e20  # training FLOPs of a CLIP run below which a cell is cheap enough for a second seed
DEFAULT_SHAPE = "triangle, 2 seeds in small cells"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StudyShape:
    """Cells with the number of paired runs in each."""

    name: str
    seeds: Mapping[Cell, int]

    @property
    def design(self) -> Design:
        """As many runs of either objective."""
        return Design.paired(self.seeds)

    @property
    def num_runs(self) -> int:
        """Of both objectives."""
        return 2 * sum(self.seeds.values())

    def train_flops(self, beliefs: Beliefs, paid: Collection[Cell] = ()) -> float:
        """Training FLOPs of both objectives; of cells that are paid for already, one seed is free."""
        return float(
            sum(
                (count - (cell in paid)) * beliefs.pair_flops(cell)
                for cell, count in self.seeds.items()
                if count
            )
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedShape:
    """A shape with its cost and what it would tell."""

    shape: StudyShape
    train_flops: float
    precision_M: tuple[Precision, ...]
    simulated_M: tuple[SimulatedRatios, ...]  # empty where nothing was simulated


def study_shapes() -> tuple[StudyShape, ...]:
    """The paper's five cells, grids, and the triangle, from the least to the most cells."""
    triangle = _triangle()
    clip = menu_of("clip")
    costs = dict(zip(clip.towers, clip.flops_per_sample_T, strict=True))
    small = {cell for cell in triangle if costs[cell.image_tower] * cell.samples_seen < SMALL_FLOPS}
    nine = grid(TOWERS[:3], SAMPLES_SEEN[:3])
    paper = [Cell(image_tower="vit_l16", samples_seen=count) for count in SAMPLES_SEEN[:3]]
    paper += [Cell(image_tower=tower, samples_seen=SAMPLES_SEEN[1]) for tower in TOWERS[:2]]
    return (
        _shape("the paper's 5 cells", paper),
        _shape("3 x 3", nine),
        _shape("3 x 3, 2 seeds", nine, 2),
        _shape("3 x 5", grid(TOWERS[:3], SAMPLES_SEEN)),
        _shape("triangle", triangle),
        StudyShape(name=DEFAULT_SHAPE, seeds={cell: 1 + (cell in small) for cell in triangle}),
        _shape("4 x 5", grid(TOWERS, SAMPLES_SEEN)),
    )


def expected_precision(
    beliefs: Beliefs,
    compute_M: Sequence[float],
    shapes: Sequence[StudyShape] | None = None,
    *,
    num_studies: int = 0,
    paid: Collection[Cell] = (),
) -> tuple[ExpectedShape, ...]:
    """What each shape costs and tells at each compute; `num_studies` > 0 simulates as well."""
    return tuple(
        ExpectedShape(
            shape=shape,
            train_flops=shape.train_flops(beliefs, paid),
            precision_M=tuple(precision(beliefs, shape.design, compute) for compute in compute_M),
            simulated_M=tuple(
                simulate(beliefs, shape.design, compute, num_studies=num_studies)
                for compute in (compute_M if num_studies else ())
            ),
        )
        for shape in (study_shapes() if shapes is None else shapes)
    )


def _triangle() -> tuple[Cell, ...]:
    return tuple(
        Cell(image_tower=tower, samples_seen=count)
        for tower, most in zip(TOWERS, TRIANGLE, strict=True)
        for count in SAMPLES_SEEN[:most]
    )


def _shape(name: str, cells: Sequence[Cell], seeds: int = 1) -> StudyShape:
    return StudyShape(name=name, seeds={cell: seeds for cell in cells})
