"""Simulated studies of two objectives whose equal-compute ratio is known: how good are our intervals?

Points are cells of a design (towers x samples) with noise on the scale of logits, so that its variance goes with
(e (1 - e))**2 as that of seeds does: of the cell for both objectives, of the cell for one, and of the run.

Shapes.  N points, T towers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.special import expit, logit

from analysis.comparison.side import Side
from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.bounded import Bounded
from analysis.forms.form import Floats
from analysis.frontier import Menu

CEILING = 0.999  # of 1,000 classes
FLOOR = 0.1
# tower: parameters, training FLOPs per sample (6 x MACs)
TOWERS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"S/16": (22e6, 28e9), "B/16": (86e6, 105e9), "L/16": (304e6, 369e9), "H/14": (632e6, 1.0e12)}
)
SAMPLES = (128e6, 512e6, 1.28e9, 4e9, 13e9)

Truth = Callable[[Floats, Floats], Floats]  # parameters / 86e6, samples / 1e9 -> error


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """Cells of a study, the same for both objectives."""

    name: str
    largest_samples: Mapping[str, float]  # of each tower; it is trained with all SAMPLES up to this one
    num_seeds: int = 1
    extra_seeds_below: float = 0.0  # cells of fewer training FLOPs have one seed more

    @property
    def cells(self) -> list[tuple[str, float]]:
        """Tower and samples of every cell."""
        return [
            (tower, num) for tower, most in self.largest_samples.items() for num in SAMPLES if num <= most
        ]

    def seeds(self, tower: str, samples: float) -> int:
        """Runs of a cell."""
        return self.num_seeds + int(TOWERS[tower][1] * samples < self.extra_seeds_below)

    @property
    def menu(self) -> Menu:
        """The towers of the design."""
        parameters_T, flops_T = np.asarray([TOWERS[tower] for tower in self.largest_samples]).T
        return Menu(towers=tuple(self.largest_samples), parameters_T=parameters_T, flops_per_sample_T=flops_T)


_SQUARE = MappingProxyType({"S/16": 1.28e9, "B/16": 1.28e9, "L/16": 1.28e9})
_TRIANGLE = MappingProxyType({"S/16": 13e9, "B/16": 13e9, "L/16": 4e9, "H/14": 1.28e9})
DESIGNS = (
    Design(name="3x3", largest_samples=_SQUARE),
    Design(name="3x3, 2 seeds", largest_samples=_SQUARE, num_seeds=2),
    Design(name="3x5", largest_samples=MappingProxyType({"S/16": 13e9, "B/16": 13e9, "L/16": 13e9})),
    Design(name="triangle", largest_samples=_TRIANGLE),
    Design(name="triangle, 2 seeds on small cells", largest_samples=_TRIANGLE, extra_seeds_below=1e20),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Standard deviations on the scale of logits: 0.004 at an error of one half is a tenth of a point."""

    shared_cell: float = 0.017  # of the cell, the same for both objectives
    own_cell: float = 0.017  # of the cell, for one objective: together 0.6 points at an error of one half
    run: float = 0.016  # 0.4 points


def bounded(size: Floats, samples: Floats) -> Floats:
    """The form that is fitted."""
    u = 0.25 * size**-0.45 + 0.45 * samples**-0.4
    return np.asarray((FLOOR + CEILING * u) / (1 + u))


def coupled(size: Floats, samples: Floats) -> Floats:
    """The bounded surface with coupling 0.7."""
    u = (0.25 * size**-0.6 + 0.45 * samples**-0.55) ** 0.7
    return np.asarray((FLOOR + CEILING * u) / (1 + u))


def additive(size: Floats, samples: Floats) -> Floats:
    """A sum of powers that knows no guessing."""
    return np.asarray(FLOOR + 0.1 * size**-0.35 + 0.18 * samples**-0.35)


def broken(size: Floats, samples: Floats) -> Floats:
    """The bounded surface with a samples exponent that goes from 0.3 to 0.5 around 1e9 samples."""
    u = 0.25 * size**-0.45 + 0.45 * samples**-0.3 * ((1 + samples**2) / 2) ** -0.1
    return np.asarray((FLOOR + CEILING * u) / (1 + u))


TRUTHS: Mapping[str, Truth] = MappingProxyType(
    {"bounded": bounded, "coupled": coupled, "additive": additive, "broken": broken}
)


def simulate(
    design: Design, *, seed: int, ratio: float = 1.0, truth: Truth = bounded, noise: Noise = Noise()
) -> tuple[Side, Side]:
    """Studied and rival of one world, fitted; at every tower the studied one needs `ratio` times the samples."""
    rng = np.random.default_rng(seed)
    cells = design.cells
    shared_N = rng.normal(0, noise.shared_cell, len(cells))
    return (
        _simulated("studied", design, truth, noise, shared_N, ratio, rng),
        _simulated("rival", design, truth, noise, shared_N, 1.0, rng),
    )


def _simulated(
    objective: str,
    design: Design,
    truth: Truth,
    noise: Noise,
    shared_N: Floats,
    ratio: float,
    rng: np.random.Generator,
) -> Side:
    rows: list[tuple[float, float, float, str]] = []
    for (tower, samples), shared in zip(design.cells, shared_N, strict=True):
        parameters = TOWERS[tower][0]
        error = truth(np.asarray(parameters / 86e6), np.asarray(samples / ratio / 1e9))
        of_cell = logit(error) + shared + rng.normal(0, noise.own_cell)
        for _ in range(design.seeds(tower, samples)):
            measured = float(expit(of_cell + rng.normal(0, noise.run)))
            rows.append((measured, parameters, samples, f"{tower} {samples:g}"))
    error_N, parameters_N, samples_N, labels = zip(*rows, strict=True)
    points = Observations.of(error_N, parameters=parameters_N, samples_seen=samples_N, clusters=labels)
    form = Bounded(("parameters", "samples_seen"), CEILING)
    return Side(objective=objective, fit=fit_form(points, form, FitOptions(loss="squares")), menu=design.menu)
