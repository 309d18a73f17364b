"""A form with some of its parameters pinned to known values: a floor from elsewhere, a base law, one exponent.

Shapes.  N points, P parameters of the inner form, F of them free, R laws, S seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from analysis.forms.form import Floats, Form

MORE = 4  # seeds of the inner form for each that is kept


@dataclasses.dataclass(frozen=True, slots=True)
class Pinned(Form):
    """The inner form at given natural values of some parameters; amplitudes are at the references of the fit."""

    inner: Form
    pins: tuple[tuple[str, float], ...]  # parameter, value

    def __post_init__(self) -> None:
        unknown = [name for name, _ in self.pins if name not in self.inner.parameters]
        if unknown or not self.parameters or len(dict(self.pins)) < len(self.pins):
            raise ValueError(
                f"{self.inner.name} cannot be pinned at {self.pins}: each of {self.inner.parameters} at most once, "
                "and not all of them."
            )

    @property
    def name(self) -> str:
        """The name of the inner form and its pins."""
        return f"{self.inner.name}_at_" + "_".join(f"{name}_{value:g}" for name, value in self.pins)

    @property
    def formula(self) -> str:
        """The inner formula and the pins."""
        return f"{self.inner.formula}; " + ", ".join(f"{name} = {value:g}" for name, value in self.pins)

    @property
    def covariates(self) -> tuple[str, ...]:
        """Those of the inner form."""
        return self.inner.covariates

    @property
    def parameters(self) -> tuple[str, ...]:
        """Those that are free."""
        return tuple(name for name in self.inner.parameters if name not in dict(self.pins))

    @property
    def least_values(self) -> Mapping[str, int]:
        """Free of rules: pins may stand for the values that are missing."""
        return dict.fromkeys(self.covariates, 1)

    @property
    def shared_references(self) -> Mapping[str, str]:
        """Those of the inner form."""
        return self.inner.shared_references

    @property
    def limits(self) -> Mapping[str, Form]:
        """Those of free parameters, pinned likewise."""
        limits = {name: form for name, form in self.inner.limits.items() if name in self.parameters}
        return {
            name: Pinned(form, self.pins)
            for name, form in limits.items()
            if {pin for pin, _ in self.pins} < set(form.parameters)
        }

    def refuse(self, error_N: Floats) -> str:
        """As the inner form does."""
        return self.inner.refuse(error_N)

    def predict(self, theta_RP: Floats, x_NK: Floats) -> Floats:
        """Errors [R, N]."""
        return self.inner.predict(self._whole(theta_RP), x_NK)

    def derivatives(self, theta_RP: Floats, x_NK: Floats) -> tuple[Floats, Floats]:
        """Errors [R, N] and derivatives [R, N, F]."""
        error_RN, derivative_RNP = self.inner.derivatives(self._whole(theta_RP), x_NK)
        return error_RN, np.asarray(derivative_RNP[..., self._free])

    def seeds(self, x_NK: Floats, error_N: Floats, weight_N: Floats, count: int) -> Floats:
        """The best of many seeds of the inner form, once pinned."""
        theta_SF = self.inner.seeds(x_NK, error_N, weight_N, MORE * count)[:, self._free]
        squared_S = np.einsum("sn,n->s", (self.predict(theta_SF, x_NK) - error_N) ** 2, weight_N)
        return np.asarray(theta_SF[np.argsort(squared_S, kind="stable")[:count]])

    def values(self, theta_P: Floats) -> dict[str, float]:
        """All parameters of the inner form."""
        return self.inner.values(self._whole(np.asarray([theta_P]))[0])

    def theta(self, values: Mapping[str, float]) -> Floats:
        """Coordinates of the free parameters."""
        return np.asarray(self.inner.theta({**values, **dict(self.pins)})[self._free])

    def bounds(self, x_NK: Floats, error_N: Floats) -> tuple[Floats, Floats]:
        """Those of the free parameters."""
        lower_P, upper_P = self.inner.bounds(x_NK, error_N)
        return np.asarray(lower_P[self._free]), np.asarray(upper_P[self._free])

    @property
    def _free(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero([name in self.parameters for name in self.inner.parameters])

    def _whole(self, theta_RF: Floats) -> Floats:
        """Coordinates [R, P] of the inner form."""
        pins = dict(self.pins)
        whole_P = self.inner.theta({name: pins.get(name, 0.5) for name in self.inner.parameters})
        whole_RP = np.tile(whole_P, (len(theta_RF), 1))
        whole_RP[:, self._free] = theta_RF
        return whole_RP
