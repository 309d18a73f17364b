"""Cells of a study (an image tower and a number of samples), and designs: how many runs there are in each.

Shapes.  C cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from analysis.comparison.side import SAME_TOWER, Side
from analysis.forms.form import Floats
from analysis.frontier import Menu
from scaling.units import format_quantity

# relative difference up to which two numbers of samples are one: whole batches only are trained
SAME_SAMPLES = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Cell:
    """One place of a study's grid, the same for both objectives; its seeds share the noise of the cell."""

    image_tower: str
    samples_seen: int

    @property
    def label(self) -> str:
        """ "vit_s16/512M", as the clusters of a study."""
        return f"{self.image_tower}/{format_quantity(self.samples_seen)}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Runs of each objective in a cell."""

    studied: int = 0
    rival: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """How many runs of each objective are in each cell."""

    runs: Mapping[Cell, Runs]

    @classmethod
    def paired(cls, seeds: Mapping[Cell, int]) -> Design:
        """As many runs of one objective as of the other."""
        return cls(runs={cell: Runs(studied=count, rival=count) for cell, count in seeds.items()})

    @classmethod
    def of_sides(cls, studied: Side, rival: Side, known: Iterable[Cell] = ()) -> Design:
        """The finished runs of both sides; samples within SAME_SAMPLES of a known cell's, or of one another, are one.

        A side without a law has runs all the same.
        """
        cells = list(known)
        runs: dict[Cell, Runs] = {}
        for cell in _cells(studied, cells):
            before = runs.get(cell, Runs())
            runs[cell] = dataclasses.replace(before, studied=before.studied + 1)
        for cell in _cells(rival, cells):
            before = runs.get(cell, Runs())
            runs[cell] = dataclasses.replace(before, rival=before.rival + 1)
        return cls(runs=dict(sorted(runs.items())))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells with at least one run."""
        return tuple(self.runs)

    def counts(self) -> tuple[Floats, Floats]:
        """Runs [C] of the studied objective and of its rival."""
        counted = np.asarray([(part.studied, part.rival) for part in self.runs.values()], dtype=np.float64)
        return counted.reshape(-1, 2)[:, 0], counted.reshape(-1, 2)[:, 1]

    def with_pair(self, cell: Cell) -> Design:
        """One run more of each objective in a cell."""
        before = self.runs.get(cell, Runs())
        more = Runs(studied=before.studied + 1, rival=before.rival + 1)
        return Design(runs={**self.runs, cell: more})


def grid(towers: Iterable[str], samples_seen: Iterable[int]) -> tuple[Cell, ...]:
    """Every tower at every number of samples."""
    samples = tuple(samples_seen)
    return tuple(Cell(image_tower=tower, samples_seen=count) for tower in towers for count in samples)


def tower_index(menu: Menu, parameters: float) -> int:
    """Place on the menu of the tower of that many parameters; ValueError where none has them."""
    away_T = np.abs(np.log(menu.parameters_T / parameters))
    if away_T.min() > SAME_TOWER:
        raise ValueError(
            f"no tower of the menu {menu.towers} has {parameters:.4g} parameters; add it to the menu."
        )
    return int(away_T.argmin())


def _cells(side: Side, known: list[Cell]) -> list[Cell]:
    """The cell of each run; new ones are added to `known`."""
    covariates = side.fit.observations.covariates
    missing = [name for name in ("parameters", "samples_seen") if name not in covariates]
    if missing:
        raise ValueError(
            f"{side.objective}: the points lack {missing}; a design needs the cell of every run."
        )
    return [
        _known_cell(side.menu.towers[tower_index(side.menu, parameters)], samples, known)
        for parameters, samples in zip(covariates["parameters"], covariates["samples_seen"], strict=True)
    ]


def _known_cell(image_tower: str, samples: float, known: list[Cell]) -> Cell:
    for cell in known:
        if cell.image_tower == image_tower and abs(samples / cell.samples_seen - 1) <= SAME_SAMPLES:
            return cell
    known.append(Cell(image_tower=image_tower, samples_seen=round(samples)))
    return known[-1]
