"""What every scaling-law form can do, and a law: a form with its numbers.

A form sees covariates as x = ln(covariate / reference), references being geometric means of the fitted points, so
that amplitudes are errors at the centre of the design (with bare covariates amplitude and exponent correlate at
0.999, Besiroglu 2024), and parameters as unconstrained coordinates theta, of which every value is a valid law.

Shapes.  N points, K covariates, P parameters, R laws, S seeds.  Covariates are [N, K]; where every law sees its own
(effective samples that depend on a parameter), [R, N, K].
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_VALUES = 3  # distinct values of a covariate: two are joined by any power
LARGEST_LOG = 709.0  # exp() of more is infinite in double precision


class Form(abc.ABC):
    """A family of laws error(covariates; theta), evaluated for many theta at once."""

    __slots__ = ()
    largest_step: ClassVar[float] = 2.0  # of theta in one step of a descent: a factor of e**2 of a parameter

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name in reports: "bounded_surface"."""

    @property
    @abc.abstractmethod
    def formula(self) -> str:
        """The law in words a reader can check, in the names of `parameters`."""

    @property
    @abc.abstractmethod
    def covariates(self) -> tuple[str, ...]:
        """Columns the form predicts from: train_flops, parameters, samples_seen, unique_samples."""

    @property
    @abc.abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Names of the P parameters, in the order of theta."""

    @property
    def least_values(self) -> Mapping[str, int]:
        """Distinct values of each covariate below which no law is looked for."""
        return dict.fromkeys(self.covariates, MIN_VALUES)

    @property
    def limits(self) -> Mapping[str, Form]:
        """The simpler form that remains where a parameter ends at its lower bound: {"floor": without floor}."""
        return {}

    @property
    def shared_references(self) -> Mapping[str, str]:
        """Covariates of one unit that are compared with each other: {"unique_samples": "samples_seen"}."""
        return {}

    def refuse(self, error_N: Floats) -> str:
        """Why these errors cannot be those of the form (percent instead of fractions), or ""."""
        return ""

    @abc.abstractmethod
    def predict(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Errors [R, N] of each law at each point."""

    @abc.abstractmethod
    def derivatives(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """Errors [R, N] and their derivatives [R, N, P] by theta."""

    @abc.abstractmethod
    def seeds(self, x_NK: Floats, error_N: Floats, weight_N: Floats, count: int) -> Floats:
        """Starts theta [S, P], the best first, S <= count: amplitudes in closed form over a grid of the others
        (variable projection, Golub & Pereyra 1973); weights are those of squared raw errors."""

    @abc.abstractmethod
    def values(self, theta_P: Floats) -> dict[str, float]:
        """The parameters in their natural units, amplitudes at the references."""

    @abc.abstractmethod
    def theta(self, values: Mapping[str, float]) -> Floats:
        """Coordinates [P] of natural values; a value on the boundary is moved just inside."""

    @abc.abstractmethod
    def bounds(self, x_NK: Floats, error_N: Floats) -> tuple[Floats, Floats]:
        """Lower and upper ends [P] of theta: where the points could not tell a law from its limit."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """A form with its numbers: predicts the error of covariates in their own units."""

    form: Form
    theta: tuple[float, ...]  # [P]
    references: Mapping[str, float]  # by covariate, in its unit, > 0

    def predict(self, **covariates: npt.ArrayLike) -> Floats:
        """Errors of the given covariates (broadcast together); ValueError names what is missing or not positive."""
        x_NK, shape = self.scaled(covariates)
        return np.asarray(self.form.predict(np.asarray([self.theta]), x_NK)[0].reshape(shape))

    @property
    def values(self) -> dict[str, float]:
        """The parameters in natural units, amplitudes at the references."""
        return self.form.values(np.asarray(self.theta))

    def value(self, parameter: str) -> float:
        """One parameter in natural units."""
        return self.values[parameter]

    def amplitude(self, covariate: str) -> float:
        """The amplitude of a power term for a covariate in bare units: the A of A N**-alpha (inf if beyond 1e308)."""
        values = self.values
        decay = values[f"exponent_{covariate}"] * math.log(self.references[covariate])
        log_amplitude = math.log(values[f"scale_{covariate}"]) + decay
        return math.exp(log_amplitude) if log_amplitude < LARGEST_LOG else math.inf

    def scaled(self, covariates: Mapping[str, npt.ArrayLike]) -> tuple[Floats, tuple[int, ...]]:
        """ln(covariate / reference) [N, K] of covariates broadcast together, and the shape they had."""
        if set(covariates) != set(self.form.covariates):
            raise ValueError(
                f"{self.form.name} predicts from {self.form.covariates}, not from {tuple(covariates)}."
            )
        columns = np.broadcast_arrays(
            *(
                np.asarray(covariates[name], dtype=np.float64) / self.references[name]
                for name in self.form.covariates
            )
        )
        for name, column in zip(self.form.covariates, columns, strict=True):
            if not np.all(np.isfinite(column) & (column > 0)):
                raise ValueError(
                    f"{self.form.name}: {name} must be positive and finite, not {covariates[name]!r}."
                )
        return np.stack([np.log(column).ravel() for column in columns], axis=1), columns[0].shape
