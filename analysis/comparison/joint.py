"""Two objectives as one law that shares some of its parameters, so that sharing can be tested.

Shapes.  N points of both objectives, K covariates of which the last is the objective, P parameters, R laws, S seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from analysis.forms.form import Floats, Form

OBJECTIVE = "objective"  # covariate: RIVAL or STUDIED, with reference 1
RIVAL, STUDIED = 1.0, 2.0
SUFFIXES = ("_of_rival", "_of_studied")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JointForm(Form):
    """The base form for each objective, with the named parameters shared by both."""

    base: Form
    shared: tuple[str, ...]  # in the order of the base's parameters

    @property
    def name(self) -> str:
        """The base's name behind "joint_"."""
        return f"joint_{self.base.name}"

    @property
    def formula(self) -> str:
        """The base's formula, and which parameters are shared."""
        return f"{self.base.formula}, for each objective, sharing {', '.join(self.shared) or 'nothing'}"

    @property
    def covariates(self) -> tuple[str, ...]:
        """The base's covariates, then the objective."""
        return (*self.base.covariates, OBJECTIVE)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The shared ones, then those of the rival, then those of the studied objective."""
        own = [name for name in self.base.parameters if name not in self.shared]
        return (*self.shared, *(f"{name}{suffix}" for suffix in SUFFIXES for name in own))

    @property
    def least_values(self) -> Mapping[str, int]:
        """The base's least numbers of values, and 2 of the objective."""
        return {**self.base.least_values, OBJECTIVE: len(SUFFIXES)}

    @property
    def shared_references(self) -> Mapping[str, str]:
        """The base's shared references."""
        return self.base.shared_references

    def refuse(self, error_N: Floats) -> str:
        """Why the base refuses the errors, "" if it does not."""
        return self.base.refuse(error_N)

    def predict(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Errors [R, N], each point by the law of its objective."""
        error_RN = np.empty((len(theta_RP), len(x_NK)))
        for columns, mine_N in zip(self._columns(), _sides(x_NK), strict=True):
            error_RN[:, mine_N] = self.base.predict(theta_RP[:, columns], x_NK[mine_N, :-1])
        return error_RN

    def derivatives(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """Errors [R, N] and derivatives [R, N, P]; 0 by the other objective's own parameters."""
        error_RN = np.empty((len(theta_RP), len(x_NK)))
        derivative_RNP = np.zeros((*error_RN.shape, theta_RP.shape[1]))
        for columns, mine_N in zip(self._columns(), _sides(x_NK), strict=True):
            error_RN[:, mine_N], own_RNP = self.base.derivatives(theta_RP[:, columns], x_NK[mine_N, :-1])
            derivative_RNP[:, np.flatnonzero(mine_N)[:, None], columns] = own_RNP
        return error_RN, derivative_RNP

    def seeds(self, x_NK: Floats, error_N: Floats, weight_N: Floats, count: int) -> Floats:
        """Seeds of the base for each objective, joined in their order; what is shared is averaged."""
        found = [
            self.base.seeds(x_NK[mine_N, :-1], error_N[mine_N], weight_N[mine_N], count)
            for mine_N in _sides(x_NK)
        ]
        num = min(len(theta_SP) for theta_SP in found)
        return np.stack([self.join(found[0][seed], found[1][seed]) for seed in range(num)])

    def values(self, theta_P: Floats) -> dict[str, float]:
        """The parameters of both objectives in natural units, each under its own name."""
        natural = [self.base.values(self.part(theta_P, side)) for side in (0, 1)]
        own = {
            f"{name}{suffix}": values[name]
            for suffix, values in zip(SUFFIXES, natural, strict=True)
            for name in self.base.parameters
            if name not in self.shared
        }
        return {name: natural[0][name] for name in self.shared} | own

    def theta(self, values: Mapping[str, float]) -> Floats:
        """The inverse of `values`."""
        sides = [
            self.base.theta({name: values[_named(name, values, suffix)] for name in self.base.parameters})
            for suffix in SUFFIXES
        ]
        return self.join(*sides)

    def bounds(self, x_NK: Floats, error_N: Floats) -> tuple[Floats, Floats]:
        """The base's bounds for each objective; a shared parameter has the wider of the two."""
        ends = [self.base.bounds(x_NK[mine_N, :-1], error_N[mine_N]) for mine_N in _sides(x_NK)]
        lower_P, upper_P = (self.join(*pair) for pair in zip(*ends, strict=True))
        num_shared = len(self.shared)
        columns = [self.base.parameters.index(name) for name in self.shared]
        lower_P[:num_shared] = np.minimum(ends[0][0], ends[1][0])[columns]
        upper_P[:num_shared] = np.maximum(ends[0][1], ends[1][1])[columns]
        return lower_P, upper_P

    def join(self, rival_P: Floats, studied_P: Floats) -> Floats:
        """The joint theta [P] of two thetas of the base; shared parameters are averaged."""
        joined_P = np.zeros(len(self.parameters))
        for columns, side_P in zip(self._columns(), (rival_P, studied_P), strict=True):
            joined_P[columns] += side_P
        joined_P[: len(self.shared)] /= 2
        return joined_P

    def part(self, theta_P: Floats, side: int) -> Floats:
        """The theta of the base of the rival (side 0) or the studied objective (1); any leading dimensions."""
        return np.asarray(np.asarray(theta_P)[..., self._columns()[side]])

    def _columns(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where theta holds the base's parameters, for the rival and for the studied objective."""
        place = {name: index for index, name in enumerate(self.parameters)}
        rival, studied = (
            np.asarray([place[_named(name, place, suffix)] for name in self.base.parameters], dtype=np.int64)
            for suffix in SUFFIXES
        )
        return rival, studied


def _named(name: str, names: Mapping[str, object], suffix: str) -> str:
    """The name of a base parameter among those of the joint form."""
    return name if name in names else f"{name}{suffix}"


def _sides(x_NK: Floats) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which points are the rival's and which the studied objective's."""
    studied_N = x_NK[:, -1] > np.log(STUDIED) / 2
    return ~studied_N, studied_N
