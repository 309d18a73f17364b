"""Chinchilla's points, refitted as Besiroglu et al. 2024 (arXiv:2404.10102) did: a known answer on real data.

The points were read off a figure of Hoffmann 2022 by Epoch AI and are not part of this project: svg_extracted_data.csv
of github.com/epoch-research/analyzing-chinchilla.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.catalogue import form_named
from analysis.forms.form import Floats, Law
from analysis.intervals.interval import Interval
from analysis.intervals.natural import natural
from analysis.intervals.resampling import Resamples, resample

FILE = "epoch_chinchilla/svg_extracted_data.csv"
SOURCE = "github.com/epoch-research/analyzing-chinchilla"
LEFT_OUT = 5  # points of the highest losses, as in the published fit
HUBER_DELTA = 1e-3  # Hoffmann 2022, section 3.3
PUBLISHED_HUBER_SUM = 0.00101828
# section 3: absolute residuals in effect, as their free scale makes delta vanish; 95 % of 4,000 bootstrap refits
PUBLISHED: Mapping[str, float] = MappingProxyType(
    {"A": 482.01, "B": 2085.43, "E": 1.8172, "alpha": 0.3478, "beta": 0.3658}
)
EXPONENTS: Mapping[str, str] = MappingProxyType(
    {"alpha": "exponent_parameters", "beta": "exponent_samples_seen"}
)
PUBLISHED_ENDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"alpha": (0.317, 0.373), "beta": (0.331, 0.415)}
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ChinchillaRefit:
    """The two published estimators of L(N, D) = E + A / N**alpha + B / D**beta on the published points."""

    huber: Fit
    absolute: Fit
    intervals: Mapping[str, Interval]  # of alpha and beta: nonparametric bootstrap of the Huber fit
    num_refits: int

    def table(self) -> pd.DataFrame:
        """Published and refitted coefficients, in bare units."""
        huber, absolute = (coefficients(fit.found) for fit in (self.huber, self.absolute))
        return pd.DataFrame({"published": dict(PUBLISHED), "absolute residuals": absolute, "Huber": huber})

    def sentences(self) -> tuple[str, ...]:
        """What was published beside what comes out here."""
        evidence = self.huber.evidence
        assert evidence is not None, "a law has evidence"
        found = coefficients(self.absolute.found)
        away = max(abs(found[name] / value - 1) for name, value in PUBLISHED.items())
        ends = [
            f"{name} [{one.lower:.3f}, {one.upper:.3f}], published "
            f"[{PUBLISHED_ENDS[name][0]}, {PUBLISHED_ENDS[name][1]}]"
            for name, one in self.intervals.items()
        ]
        return (
            f"Huber sum {evidence.objective:.8f}, published {PUBLISHED_HUBER_SUM}: "
            f"{100 * evidence.agreeing_share:.0f} % of the starts end in this minimum.",
            f"With absolute residuals every published coefficient is met within {100 * away:.2f} %.",
            f"{self.num_refits} bootstrap refits: {'; '.join(ends)}.",
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NoPoints:
    """The points are not on this machine."""

    path: Path

    def table(self) -> pd.DataFrame:
        """The published coefficients alone."""
        return pd.DataFrame({"published": dict(PUBLISHED)})

    def sentences(self) -> tuple[str, ...]:
        """What is missing and where it is found."""
        return (
            f"{self.path.name} is not here; put it from {SOURCE} below the folder given above, as {FILE}.",
        )


def chinchilla_refit(folder: Path, *, num_refits: int = 200, seed: int = 0) -> ChinchillaRefit | NoPoints:
    """Both estimators on the points below `folder`, or that they are not there."""
    path = folder / FILE
    if not path.exists():
        return NoPoints(path=path)
    points, form = chinchilla_points(path), form_named("additive_surface")
    huber = fit_form(points, form, FitOptions(residual="log_error", huber_delta=HUBER_DELTA))
    resamples = resample(huber, num_refits=num_refits, seed=seed)
    return ChinchillaRefit(
        huber=huber,
        absolute=fit_form(points, form, FitOptions(residual="log_error", loss="absolute")),
        intervals={name: _interval(resamples, parameter) for name, parameter in EXPONENTS.items()},
        num_refits=num_refits,
    )


def chinchilla_points(path: Path) -> Observations:
    """The 240 points of the published fit; samples are tokens, C / 6 N."""
    table = pd.read_csv(path).sort_values("loss").iloc[:-LEFT_OUT]
    parameters = table["Model Size"].to_numpy()
    tokens = table["Training FLOP"].to_numpy() / 6 / parameters
    return Observations.of(table["loss"], parameters=parameters, samples_seen=tokens)


def coefficients(law: Law) -> dict[str, float]:
    """A, B, E, alpha and beta of an additive surface, amplitudes in bare units."""
    amplitudes = {"A": law.amplitude("parameters"), "B": law.amplitude("samples_seen")}
    exponents = {name: law.value(parameter) for name, parameter in EXPONENTS.items()}
    return {**amplitudes, "E": law.value("floor"), **exponents}


def _interval(resamples: Resamples, parameter: str) -> Interval:
    fit = resamples.fit
    column = fit.form.parameters.index(parameter)

    def quantity(theta_RP: Floats) -> Floats:
        return natural(fit, parameter, theta_RP[:, column])

    return resamples.interval(quantity)
