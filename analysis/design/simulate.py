"""What a design would tell of the ratio, by brute force: simulated studies, each fitted by least squares.

Shapes.  R studies, N runs, P parameters, C cells.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.design.beliefs import Belief, Beliefs
from analysis.design.cells import Design
from analysis.design.ratio import log_ratios
from analysis.fitting.descent import descend
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem, target
from analysis.forms.form import Floats
from analysis.intervals.interval import LEVEL, Interval

METHOD = "simulated studies"
NUM_STUDIES = 400
NORMAL = 1.959964  # 97.5 % quantile: turns half an interval of 95 % into a standard deviation


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedRatios:
    """The ratios that repetitions of a study would estimate, descents starting at the truth (favourable)."""

    log_ratio_R: Floats  # -inf or inf: not reached

    @property
    def spread(self) -> float:
        """Half the width of the middle 95 % of ln r, as a standard deviation; inf where the middle is open."""
        lower, upper = _quantiles(self.log_ratio_R, LEVEL)
        return float((upper - lower) / (2 * NORMAL))

    def interval(self, level: float = LEVEL) -> Interval:
        """The middle of the estimated ratios; an end is open where they run to 0 or infinity."""
        lower, upper = np.exp(_quantiles(self.log_ratio_R, level))
        return Interval(
            estimate=float(np.exp(np.median(self.log_ratio_R))),
            lower=float(lower) if lower > 0 else None,
            upper=float(upper) if np.isfinite(upper) else None,
            level=level,
            method=METHOD,
        )


def simulate(
    beliefs: Beliefs, design: Design, compute: float, *, num_studies: int = NUM_STUDIES, seed: int = 0
) -> SimulatedRatios:
    """Ratios at a compute estimated by repetitions of the design under the believed laws and noise."""
    generator = np.random.default_rng(seed)
    noise, num_cells = beliefs.noise, len(design.cells)
    common_RC = generator.normal(size=(num_studies, num_cells))
    theta = []
    for belief, count_C in zip((beliefs.studied, beliefs.rival), design.counts(), strict=True):
        own_RC = generator.normal(size=(num_studies, num_cells))
        cell_RC = noise.cell * (np.sqrt(noise.shared) * common_RC + np.sqrt(1 - noise.shared) * own_RC)
        row_N = np.repeat(np.arange(num_cells), count_C.astype(int))
        noise_RN = cell_RC[:, row_N] + noise.run * generator.normal(size=(num_studies, len(row_N)))
        theta.append(_refitted(belief, design, row_N, noise_RN))
    log_ratio_R = log_ratios(beliefs.studied, beliefs.rival, theta[0], theta[1], compute)
    return SimulatedRatios(log_ratio_R=log_ratio_R)


def _refitted(belief: Belief, design: Design, row_N: npt.NDArray[np.int64], noise_RN: Floats) -> Floats:
    """Parameters [R, P] of the law fitted to each simulated study."""
    law = belief.law
    cells = [design.cells[row] for row in row_N]
    x_NK = belief.x(cells)
    columns = {
        name: np.exp(x_NK[:, column]) * law.references[name]
        for column, name in enumerate(law.form.covariates)
    }
    truth_N = law.form.predict(np.asarray([law.theta]), x_NK)[0]
    observations = Observations.of(truth_N, **columns)
    options = FitOptions(residual=belief.residual, loss="squares")
    problem = Problem.of(observations, law.form, options, law.references)
    start_RP = np.tile(np.asarray(law.theta), (len(noise_RN), 1))
    target_RN = target(belief.residual, truth_N) + noise_RN
    return descend(problem, start_RP, target_RN=target_RN).theta_RP


def _quantiles(values_R: Floats, level: float) -> Floats:
    return np.quantile(values_R, [(1 - level) / 2, (1 + level) / 2], method="nearest")
