"""How far a fitted law would move had other cells been trained: a cell bootstrap.

Runs that share objective, image_tower and samples_seen (seeds of one cell) are not independent, so whole
cells are drawn with replacement and the law is refitted to each draw.  Percentile intervals of few cells are
known to be too narrow (82 % instead of 95 % in simulations of the wild variant with 15 cells); the report
says so.

Shapes.  N points, R refits, M compute values of a band.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.fit import refit_laws
from analysis.laws import Floats, SaturatingPowerLaw
from analysis.problem import FitOptions

CELL = ("objective", "image_tower", "samples_seen")
MIN_CELLS = 5
NUM_REFITS = 500
LEVEL = 0.95
MAX_FAILED_SHARE = 0.5  # above it the surviving refits say more about who survived than about the law

Parameter = Literal["floor", "scale", "exponent"]
PARAMETERS: tuple[Parameter, ...] = ("floor", "scale", "exponent")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrap:
    """The laws of the refits that succeeded, or why there is no interval."""

    num_cells: int
    num_refits: int
    laws: tuple[SaturatingPowerLaw, ...] = ()
    reason: str = ""  # in words, empty when intervals exist
    level: float = LEVEL

    @property
    def failed_share(self) -> float | None:
        """Share of the refits that determined no law; None if none was tried."""
        return 1 - len(self.laws) / self.num_refits if self.num_refits else None

    def interval(self, parameter: Parameter) -> tuple[float, float] | None:
        """Percentile interval of one parameter of the law; None without a bootstrap."""
        if self.reason:
            return None
        values = [getattr(law, parameter) for law in self.laws]
        lower, upper = np.quantile(values, self._tails)
        return float(lower), float(upper)

    def band(self, compute_M: npt.ArrayLike) -> tuple[Floats, Floats] | None:
        """Pointwise percentile band (lower [M], upper [M]) of the curve; None without a bootstrap."""
        if self.reason:
            return None
        curves_RM = np.stack([law.predict(compute_M) for law in self.laws])
        lower_M, upper_M = np.quantile(curves_RM, self._tails, axis=0)
        return lower_M, upper_M

    @property
    def _tails(self) -> tuple[float, float]:
        return (1 - self.level) / 2, (1 + self.level) / 2


def bootstrap_cells(
    points: pd.DataFrame, options: FitOptions = FitOptions(), *, num_refits: int = NUM_REFITS, seed: int = 0
) -> Bootstrap:
    """Laws of one objective refitted to resampled cells; the same seed gives the same draws.

    `points` has one row per run with the columns of `CELL`, `train_flops` and `error`.
    """
    cell_N = points.groupby(list(CELL), sort=True, dropna=False).ngroup().to_numpy()
    num_cells = int(cell_N.max()) + 1 if len(cell_N) else 0
    if num_cells < MIN_CELLS:
        reason = f"{num_cells} cells, at least {MIN_CELLS} are needed"
        return Bootstrap(num_cells=num_cells, num_refits=0, reason=reason)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_cells, np.full(num_cells, 1 / num_cells), size=num_refits)
    multiplicity_RN = draws[:, cell_N].astype(np.float64)
    refits = refit_laws(
        points["train_flops"].to_numpy(), points["error"].to_numpy(), multiplicity_RN, options
    )
    laws = tuple(law for law in refits if law is not None)
    failed_share = 1 - len(laws) / num_refits
    reason = ""
    if failed_share > MAX_FAILED_SHARE:
        reason = f"{failed_share:.0%} of {num_refits} refits to resampled cells determined no law"
    return Bootstrap(num_cells=num_cells, num_refits=num_refits, laws=laws, reason=reason)
