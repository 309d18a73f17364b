"""The expected interval of the equal-compute ratio for a design, by the delta method.

Least squares moves theta by (J'MJ)^-1 J'M noise, M holding the runs per cell, so ln r by a sum over cells of
h_studied noise_studied + h_rival noise_rival, whose variance follows from the noise of cells and runs. The interval is
a t interval with Satterthwaite's degrees of freedom, as a wild cluster bootstrap will report. A robust loss costs some
5 % more, and a strongly bent ratio (few cells) more than linear theory says: `simulate` tells how much.

Shapes.  C cells, P parameters, N runs.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.stats import t

from analysis.design.beliefs import Beliefs
from analysis.design.cells import Design
from analysis.design.noise import Noise
from analysis.design.ratio import LogRatio, log_ratio
from analysis.fitting.fit import MIN_VALUES
from analysis.forms.form import Floats
from analysis.intervals.clusters import degrees_of_freedom
from analysis.intervals.interval import LEVEL, Interval, no_interval
from analysis.intervals.wild import MIN_CLUSTERS

METHOD = "delta method"
# of the largest eigenvalue of a scaled J'MJ: what the fit's limit on the Jacobian squares to
LEAST_CURVATURE = 1e-14
# standard deviation of a very weak prior on every theta, by which designs that determine nothing compare
VAGUE = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """How well a design would determine ln r at a compute."""

    log_ratio: float
    # standard deviation of the estimated ln r over repetitions of the study; inf: not determined
    spread: float
    degrees_of_freedom: float  # of the t reference
    reason: str = ""  # why no interval will be stated

    def half_width(self, level: float = LEVEL) -> float:
        """Half the width of the interval of ln r, whether or not it will be stated."""
        return float(t.ppf((1 + level) / 2, self.degrees_of_freedom)) * self.spread

    def interval(self, level: float = LEVEL) -> Interval:
        """The expected interval of the ratio, open with the reason where none will be stated."""
        ratio = math.exp(self.log_ratio)
        if self.reason:
            return no_interval(ratio, level=level, method=METHOD, reason=self.reason)
        reach = math.exp(self.half_width(level))
        return Interval(
            estimate=ratio,
            lower=ratio / reach,
            upper=ratio * reach,
            level=level,
            method=METHOD,
            degrees_of_freedom=self.degrees_of_freedom,
        )

    def text(self) -> str:
        """ "0.77 [0.65, 0.91]", or "0.77, not identified" (`reason` says why)."""
        interval = self.interval()
        if interval.lower is None or interval.upper is None:
            return f"{interval.estimate:.2f}, not identified"
        return f"{interval.estimate:.2f} [{interval.lower:.2f}, {interval.upper:.2f}]"


def precision(beliefs: Beliefs, design: Design, compute: float) -> Precision:
    """What a design would tell of the ratio at a compute."""
    wanted = log_ratio(beliefs.studied, beliefs.rival, compute)
    return precision_of(wanted, beliefs, design)


def precision_of(wanted: LogRatio, beliefs: Beliefs, design: Design, *, prior: float = math.inf) -> Precision:
    """The same for a log ratio that was computed before; `prior`: standard deviation believed of every theta."""
    jacobians = [belief.jacobian(design.cells) for belief in (beliefs.studied, beliefs.rival)]
    gradients = (wanted.by_studied_P, wanted.by_rival_P)
    variance = beliefs.noise.cell**2 + beliefs.noise.run**2
    sides = [
        _Side.of(jacobian_CP, count_C, gradient_P, variance / prior**2)
        for jacobian_CP, count_C, gradient_P in zip(jacobians, design.counts(), gradients, strict=True)
    ]
    reasons = [lack.reason for lack in lacking(beliefs, design)]
    if not all(side.determined for side in sides):
        return Precision(
            log_ratio=wanted.value,
            spread=math.inf,
            degrees_of_freedom=1.0,
            reason="; ".join(reasons) or "the cells do not tell the parameters of the laws apart",
        )
    return Precision(
        log_ratio=wanted.value,
        spread=math.sqrt(_variance(sides[0], sides[1], beliefs.noise)),
        degrees_of_freedom=degrees_of_freedom(np.concatenate([side.loading() for side in sides], axis=1)),
        reason="; ".join(reasons),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """Something of which a design has too few for an interval to be stated."""

    what: str
    number: int
    least: int

    @property
    def reason(self) -> str:
        """In words."""
        return f"{self.number} {self.what}, at least {self.least} are needed"


def lacking(beliefs: Beliefs, design: Design) -> tuple[Lack, ...]:
    """What a design has too little of, among the cells with runs of both objectives."""
    cells = [cell for cell, runs in design.runs.items() if runs.studied and runs.rival]
    covariates = {*beliefs.studied.law.form.covariates, *beliefs.rival.law.form.covariates}
    found = [Lack(what="cells with both objectives", number=len(cells), least=MIN_CLUSTERS)]
    if "parameters" in covariates:
        towers = len({cell.image_tower for cell in cells})
        found.append(Lack(what="image towers", number=towers, least=MIN_VALUES))
    if "samples_seen" in covariates:
        samples = len({cell.samples_seen for cell in cells})
        found.append(Lack(what="values of samples_seen", number=samples, least=MIN_VALUES))
    return tuple(lack for lack in found if lack.number < lack.least)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """How the noise in each cell moves ln r through one law; cells without runs do not."""

    jacobian_CP: Floats
    count_C: Floats
    inverse_PP: Floats  # (J'MJ)^-1
    moved_C: Floats  # change of ln r per noise of the mean of a cell's runs
    unsaid: float  # of the variance of ln r, in variances of a run: what the runs leave to the prior
    determined: bool

    @classmethod
    def of(cls, jacobian_CP: Floats, count_C: Floats, gradient_P: Floats, ridge: float) -> _Side:
        curvature_PP = jacobian_CP.T @ (count_C[:, None] * jacobian_CP) + ridge * np.eye(len(gradient_P))
        size_P = np.sqrt(np.maximum(np.diag(curvature_PP), 1e-300))
        scaled_PP = curvature_PP / np.outer(size_P, size_P)
        rank = int(np.linalg.matrix_rank(scaled_PP, tol=LEAST_CURVATURE, hermitian=True))
        inverse_PP = np.linalg.pinv(scaled_PP, hermitian=True) / np.outer(size_P, size_P)
        unsaid = float(np.sum((inverse_PP @ gradient_P) ** 2))
        return cls(
            jacobian_CP=jacobian_CP,
            count_C=count_C,
            inverse_PP=inverse_PP,
            moved_C=count_C * (jacobian_CP @ (inverse_PP @ gradient_P)),
            unsaid=ridge * unsaid,
            determined=rank == len(gradient_P),
        )

    def loading(self) -> Floats:
        """CR2 loadings [C, C] of the cells' means, for Satterthwaite's degrees of freedom (Bell & McCaffrey 2002)."""
        root_C = np.sqrt(self.count_C)
        leaning_CP = root_C[:, None] * self.jacobian_CP
        hat_CC = leaning_CP @ self.inverse_PP @ leaning_CP.T
        free_C = np.maximum(1 - np.diag(hat_CC), 0.0)
        correction_C = np.where(free_C > 1e-9, 1 / np.sqrt(np.maximum(free_C, 1e-9)), 0.0)
        weight_C = np.where(root_C > 0, self.moved_C / np.maximum(root_C, 1.0), 0.0) * correction_C
        return np.asarray(weight_C[:, None] * (np.eye(len(root_C)) - hat_CC))


def _variance(studied: _Side, rival: _Side, noise: Noise) -> float:
    total = 2 * noise.shared * noise.cell**2 * float(np.sum(studied.moved_C * rival.moved_C))
    total += (noise.cell**2 + noise.run**2) * (studied.unsaid + rival.unsaid)
    for side in (studied, rival):
        run_C = noise.run**2 / np.maximum(side.count_C, 1.0)
        total += float(np.sum(side.moved_C**2 * (noise.cell**2 + run_C)))
    return max(total, 0.0)
