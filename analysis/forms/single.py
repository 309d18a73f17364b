"""Laws of one covariate in which only the amplitude is linear: what they share.

Shapes.  N points, P parameters, R laws, G laws of the grid, L coordinates of the grid, S seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np

from analysis.forms.floored import Floored
from analysis.forms.form import Floats
from analysis.forms.projection import grid


@dataclasses.dataclass(frozen=True, slots=True)
class SingleCovariate(Floored):
    """A floored law of one covariate whose theta begins with the log amplitude."""

    covariate: str
    fixed_floor: float | None = None

    @property
    def covariates(self) -> tuple[str, ...]:
        """The one covariate."""
        return (self.covariate,)

    def with_floor(self, floor: float) -> Self:
        """The same law above a fixed floor."""
        return dataclasses.replace(self, fixed_floor=floor)

    def predict(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Errors [R, N]."""
        return self.derivatives(theta_RP, x_NK)[0]

    def seeds_on(
        self, axes: Sequence[Floats], x_NK: Floats, error_N: Floats, weight_N: Floats, count: int
    ) -> Floats:
        """Seeds [S, P]: amplitude and floor in closed form over a grid of the other coordinates, an axis each."""
        grid_GL = grid(axes)
        theta_GP = np.concatenate([np.zeros((len(grid_GL), 1)), grid_GL], axis=1)
        basis_GN1 = self.with_floor(0.0).predict(theta_GP, x_NK)[..., None]
        return self.projected(basis_GN1, error_N, weight_N, grid_GL, axes, count)
