"""One known law of every form on a design that determines it, for the tests of forms and fits.

Shapes.  N points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from analysis.fitting.observations import Observations
from analysis.forms.catalogue import form_named
from analysis.forms.form import Floats, Form, Law
from analysis.forms.pinned import Pinned

CEILING = 0.999  # of ImageNet's thousand classes
REFERENCES = {"train_flops": 1e18, "parameters": 6e7, "samples_seen": 1e9, "unique_samples": 1e9}
SURFACE = {
    "scale_parameters": 0.3,
    "scale_samples_seen": 0.4,
    "exponent_parameters": 0.35,
    "exponent_samples_seen": 0.28,
    "floor": 0.1,
}
ONE = {"scale_train_flops": 0.4, "exponent_train_flops": 0.2, "floor": 0.15}
BREAK = {"scale": 0.5, "exponent_before": 0.06, "exponent_after": 0.4, "break": 0.5, "smoothness": 0.4}
REPEATS = {"repeats_samples_seen": 12.0, "repeats_parameters": 6.0}
VALUES: Mapping[str, Mapping[str, float]] = {
    "power": ONE,
    "saturating_power": ONE,
    "shifted_power": {**ONE, "exponent_train_flops": 0.35, "shift": 0.2},
    "shifted_power_without_floor": {**ONE, "shift": 0.2},
    "broken_power": {**BREAK, "floor": 0.1},
    "broken_power_without_floor": BREAK,
    "additive_surface": SURFACE,
    "additive_surface_without_floor": SURFACE,
    "bounded_power": ONE,
    "bounded_power_without_floor": ONE,
    "bounded_surface": SURFACE,
    "bounded_surface_without_floor": SURFACE,
    "coupled_bounded_surface": {**SURFACE, "coupling": 1.4},
    "repeated_data_surface": {**SURFACE, **REPEATS},
    "repeated_data_bounded_surface": {**SURFACE, **REPEATS},
    "isoflop_parabola": {"level": 0.4, "slope": -0.01, "curvature": 0.02},
    "isoflop_cubic": {"level": 0.4, "slope": -0.01, "curvature": 0.02, "skew": 0.003},
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A law, and the covariates it is observed at."""

    name: str
    law: Law
    columns: Mapping[str, Floats]

    @property
    def error_N(self) -> Floats:
        """True errors."""
        return self.law.predict(**{name: self.columns[name] for name in self.law.form.covariates})

    def observations(self, noise: float = 0.0, seed: int = 0) -> Observations:
        """The points with normal noise of this standard deviation."""
        noise_N = np.random.default_rng(seed).normal(0, noise, len(self.error_N))
        return Observations.of(self.error_N + noise_N, **self.columns)


def case(name: str) -> Case:
    """The known law of the form of this name."""
    form = form_named(name, ceiling=CEILING)
    return Case(name=name, law=law_of(form, VALUES[name]), columns=design(form))


def pinned_case() -> Case:
    """The bounded surface with its floor known."""
    form = Pinned(form_named("bounded_surface", ceiling=CEILING), (("floor", SURFACE["floor"]),))
    return Case(name="pinned", law=law_of(form, SURFACE), columns=design(form))


def cases() -> list[Case]:
    """All of them, in the order of their names."""
    return [*(case(name) for name in sorted(VALUES)), pinned_case()]


def law_of(form: Form, values: Mapping[str, float]) -> Law:
    """The law of natural values."""
    references = {name: REFERENCES[name] for name in form.covariates}
    return Law(form=form, theta=tuple(map(float, form.theta(values))), references=references)


def design(form: Form) -> dict[str, Floats]:
    """Covariates: towers by samples (and by unique samples, where repeats matter), or a ladder of compute."""
    if form.covariates == ("train_flops",):
        return {"train_flops": np.geomspace(1e15, 1e21, 60)}
    if form.covariates == ("parameters",):
        return {"parameters": np.geomspace(6e6, 6e8, 15)}
    axes = [np.geomspace(5e6, 6e8, 6), np.geomspace(1e8, 1e11, 8)]
    if "unique_samples" in form.covariates:
        axes = [np.geomspace(5e6, 2e9, 6), np.geomspace(1e8, 1e11, 8), np.geomspace(3e7, 1e10, 5)]
    columns = [column.ravel() for column in np.meshgrid(*axes)]
    named = dict(zip(form.covariates, columns, strict=True))
    if "unique_samples" in named:
        named["unique_samples"] = np.minimum(named["unique_samples"], named["samples_seen"])
    return named
