"""What a design is judged by: a law and a menu for each objective, and the noise of runs around them.

Shapes.  C cells, K covariates, P parameters, T towers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from analysis.comparison.side import MENU_COLUMNS, Side
from analysis.design.cells import Cell
from analysis.design.noise import Noise
from analysis.fitting.options import Residual
from analysis.fitting.problem import target_slope
from analysis.forms.form import Floats, Law
from analysis.frontier import Menu


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Belief:
    """The law an objective is believed to follow, and its menu."""

    objective: str
    law: Law
    menu: Menu
    residual: Residual = "error"  # scale on which runs scatter and a fit will count them

    def __post_init__(self) -> None:
        missing = sorted(set(self.law.form.covariates) - MENU_COLUMNS)
        if missing:
            raise ValueError(
                f"{self.objective}: {self.law.form.name} predicts from {missing}, which a cell does not tell; design "
                f"with a law of {sorted(MENU_COLUMNS)}."
            )

    @classmethod
    def of_side(cls, side: Side) -> Belief:
        """What a finished fit says; ValueError with the reason where there is no law."""
        return cls(
            objective=side.objective, law=side.fit.found, menu=side.menu, residual=side.fit.options.residual
        )

    def tower(self, cell: Cell) -> int:
        """Place of a cell's tower on the menu; ValueError with the menu."""
        if cell.image_tower not in self.menu.towers:
            raise ValueError(
                f"cell {cell.label}: {cell.image_tower} is not on the menu of {self.objective}, {self.menu.towers}."
            )
        return self.menu.towers.index(cell.image_tower)

    def train_flops(self, cell: Cell) -> float:
        """Training FLOPs of one run in a cell."""
        return float(self.menu.flops_per_sample_T[self.tower(cell)]) * cell.samples_seen

    def x(self, cells: Sequence[Cell]) -> Floats:
        """Scaled covariates [C, K] of the law."""
        columns = {
            "parameters": [float(self.menu.parameters_T[self.tower(cell)]) for cell in cells],
            "samples_seen": [float(cell.samples_seen) for cell in cells],
            "train_flops": [self.train_flops(cell) for cell in cells],
        }
        references = self.law.references
        return np.stack(
            [np.log(np.asarray(columns[name]) / references[name]) for name in self.law.form.covariates],
            axis=1,
        )

    def jacobian(self, cells: Sequence[Cell]) -> Floats:
        """Derivatives [C, P] of a run's residual by the law's parameters."""
        error_RC, derivative_RCP = self.law.form.derivatives(np.asarray([self.law.theta]), self.x(cells))
        return np.asarray(target_slope(self.residual, error_RC)[0][:, None] * derivative_RCP[0])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Beliefs:
    """Both objectives, and the noise of their runs."""

    studied: Belief
    rival: Belief
    noise: Noise

    def pair_flops(self, cell: Cell) -> float:
        """Training FLOPs of one run of each objective in a cell."""
        return self.studied.train_flops(cell) + self.rival.train_flops(cell)
