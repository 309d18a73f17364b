"""Unbounded laws, error = floor + something: what they share.  The floor is fitted, fixed, or absent (0).

Every parameter is positive and its coordinate is its logarithm; a fitted floor is the last one.

Shapes.  N points, P parameters, M amplitudes of one law, G laws of a grid, L coordinates of the grid, R laws, S seeds.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.forms.form import Floats, Form
from analysis.forms.projection import VANISHING, project, spread_best
from analysis.forms.terms import FARTHEST

SMALLEST_FLOOR = 1e-6  # of the smallest error; below it the floor cannot be told from 0


class Floored(Form):
    """A form with an additive floor in its field `fixed_floor` (None: fitted) and logarithmic coordinates."""

    __slots__ = ()
    fixed_floor: float | None

    @property
    @abc.abstractmethod
    def shape_parameters(self) -> tuple[str, ...]:
        """Names of the parameters other than the floor."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The shape's parameters, then the floor."""
        return (*self.shape_parameters, *(("floor",) if self.fixed_floor is None else ()))

    @property
    def limits(self) -> Mapping[str, Form]:
        """Without floor where it ends at 0."""
        return {"floor": self.with_floor(0.0)} if self.fixed_floor is None else {}

    @abc.abstractmethod
    def with_floor(self, floor: float) -> Form:
        """The same form with its floor fixed."""

    def values(self, theta_P: Floats) -> dict[str, float]:
        """exp of every coordinate; a fixed floor is told as well."""
        values = {name: float(np.exp(theta)) for name, theta in zip(self.parameters, theta_P, strict=True)}
        return values if self.fixed_floor is None else values | {"floor": self.fixed_floor}

    def theta(self, values: Mapping[str, float]) -> Floats:
        """log of every value."""
        return np.asarray(np.log(np.maximum([values[name] for name in self.parameters], 1e-300)))

    def floored(self, theta_RP: Floats, error_RN: Floats, columns: Sequence[Floats]) -> tuple[Floats, Floats]:
        """Errors [R, N] and derivatives [R, N, P] of floor + error, from those of the error [R, N, 1 or more]."""
        if self.fixed_floor is not None:
            return np.asarray(error_RN + self.fixed_floor), np.concatenate(columns, axis=2)
        floor_R1 = np.exp(theta_RP[:, -1:])
        by_floor_RN1 = np.broadcast_to(floor_R1[..., None], (*error_RN.shape, 1))
        return np.asarray(error_RN + floor_R1), np.concatenate([*columns, by_floor_RN1], axis=2)

    def floor_bounds(self, error_N: Floats) -> tuple[list[float], list[float]]:
        """Lower and upper ends of the coordinate of a fitted floor, one number each, or none."""
        if self.fixed_floor is not None:
            return [], []
        smallest = float(np.log(error_N.min()))
        return [smallest + float(np.log(SMALLEST_FLOOR))], [smallest + FARTHEST]

    def projected(
        self,
        basis_GNM: Floats,
        error_N: Floats,
        weight_N: Floats,
        grid_GL: Floats,
        axes: Sequence[Floats],
        count: int,
    ) -> Floats:
        """Seeds [S, P]: log amplitudes in closed form, the coordinates of the grid, the log floor."""
        if self.fixed_floor is None:
            basis_GNM = np.concatenate([basis_GNM, np.ones((*basis_GNM.shape[:2], 1))], axis=2)
        amplitude_GM, squared_G = project(basis_GNM, error_N - (self.fixed_floor or 0.0), weight_N)
        best, num = spread_best(squared_G, grid_GL, axes, count), amplitude_GM.shape[1] - (
            self.fixed_floor is None
        )
        scale_SM = np.log(np.maximum(amplitude_GM[best, :num], VANISHING * error_N.min()))
        floor_SF = np.log(np.maximum(amplitude_GM[best, num:], SMALLEST_FLOOR * error_N.min()))
        return np.concatenate([scale_SM, grid_GL[best], floor_SF], axis=1)


def floor_name(kind: str, fixed_floor: float | None) -> str:
    """The name of a form with its floor: kind, kind_without_floor, kind_floor_1.5."""
    if fixed_floor is None:
        return kind
    return f"{kind}_floor_{fixed_floor:g}" if fixed_floor else f"{kind}_without_floor"


def floor_formula(fixed_floor: float | None) -> str:
    """What stands before the rest of the law: "floor + ", "1.5 + " or nothing."""
    if fixed_floor is None:
        return "floor + "
    return f"{fixed_floor:g} + " if fixed_floor else ""
