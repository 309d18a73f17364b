"""What a comparison says: bands, sets, tests, and the sentence.

Shapes.  M compute values of the shared range.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np

from analysis.comparison.cells import Pairing, Sensitivity
from analysis.comparison.difference import CrossingSet
from analysis.comparison.nested import NestedTest
from analysis.comparison.ratio import RatioBand
from analysis.comparison.sentence import Finding, sentence
from analysis.comparison.tuning import TuningBudget
from analysis.filters import error_label
from analysis.forms.form import Floats
from analysis.intervals.interval import LEVEL, Band, Interval
from analysis.intervals.wild import NUM_REFITS


class ComparisonStatus(enum.StrEnum):
    """Outcome of a comparison."""

    OK = "ok"
    NOT_IDENTIFIED = "not_identified"  # estimates without intervals, or nothing in common to compare at
    REFUSED = "refused"  # the sides do not compare: different metrics, losses, unequal tuning


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CompareOptions:
    """How sure intervals are, and what is worked out besides them."""

    level: float = LEVEL
    num_refits: int = NUM_REFITS
    seed: int = 0
    reference_compute: float | None = None  # FLOPs of the sentence; None: the largest within the runs of both
    nested: bool = True
    sensitivity: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What can be said of studied against rival; fields that a status or reason rules out are None or empty."""

    studied: str
    rival: str
    metric: str
    status: ComparisonStatus
    reason: str = ""  # in words, empty when ok
    compute_M: Floats  # the range that both have points in
    studied_error_M: Floats
    rival_error_M: Floats
    difference: Band | None = None  # simultaneous
    ratio: RatioBand | None = None  # over compute_M
    ratio_beyond: RatioBand | None = None  # on to REACH times the largest shared compute
    crossing: CrossingSet | None = None
    probability_better_M: Floats  # P(studied has the smaller error); empty without intervals
    reference_compute: float | None = None
    pairing: Pairing
    tuning: TuningBudget | None = None
    nested: tuple[NestedTest, ...] = ()
    nested_reason: str = ""  # why there are no nested tests
    sensitivities: tuple[Sensitivity, ...] = ()
    notes: tuple[str, ...] = ()  # rules that were applied, in words

    def ratio_at(self, compute: float) -> Interval:
        """The ratio at a compute; ValueError outside the shared range and REACH times beyond it."""
        if self.ratio is None:
            raise ValueError(f"{self.studied} and {self.rival}: no ratio is stated: {self.reason}.")
        if self.ratio_beyond is not None and compute > self.ratio.compute_M[-1] * (1 + 1e-9):
            return self.ratio_beyond.at(compute)
        return self.ratio.at(compute)

    @property
    def p_value(self) -> float | None:
        """Of "equal error at the reference compute", two-sided; to be adjusted over metrics by Holm.

        None without intervals, and beyond the shared range.
        """
        if not len(self.probability_better_M) or self.reference_compute is None:
            return None
        if self.reference_compute > self.compute_M[-1] * (1 + 1e-9):
            return None
        row = int(np.argmin(np.abs(np.log(self.compute_M / self.reference_compute))))
        better = float(self.probability_better_M[row])
        return min(1.0, 2 * min(better, 1 - better))

    @property
    def finding(self) -> Finding | None:
        """What the sentence says, as numbers; None without a ratio."""
        if self.ratio is None or self.reference_compute is None:
            return None
        return Finding.of(self.ratio, self.ratio_beyond, self.reference_compute)

    @property
    def _error(self) -> str:
        """The metric in words."""
        return error_label(self.metric) if self.metric else ""

    def sentence(self) -> str:
        """The conclusion in one sentence."""
        return sentence(self.studied, self.rival, self._error, self.finding, self.reason)
