"""The comparison of two objectives at equal compute, as one value.

Shapes.  G compute values of the grid, M of the shared range.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import numpy.typing as npt

from analysis.comparison.cells import (
    FEW_FAILED,
    Pairing,
    Sensitivity,
    on_shared_cells,
    pairing,
    with_failed_as_worst,
)
from analysis.comparison.difference import CrossingSet, Differences, no_differences
from analysis.comparison.nested import NestedTest, nested_tests
from analysis.comparison.paired import REACH, PairedFrontiers, Tails, compute_grid, paired_frontiers
from analysis.comparison.ratio import Limits, RatioBand, ratio_band
from analysis.comparison.sentence import Finding, sentence
from analysis.comparison.side import Side, incomparable, shared_range
from analysis.comparison.tuning import TuningBudget
from analysis.forms.form import Floats
from analysis.intervals.interval import LEVEL, Band, Interval
from analysis.intervals.wild import NUM_REFITS

STRIDE = 2  # rows of the grid from one compute of the bands to the next: a tenth of ln compute
NOT_TOLD = "how many settings were tried per cell was not told, so that equal tuning is assumed, not checked"


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
    reference_compute: float | None = None  # FLOPs of the sentence; None: the largest that both have
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
        """Of "equal error at the reference compute", two-sided; to be adjusted over metrics by Holm."""
        if not len(self.probability_better_M) or self.reference_compute is None:
            return None
        better = float(self.probability_better_M[_nearest(self.compute_M, self.reference_compute)])
        return min(1.0, 2 * min(better, 1 - better))

    @property
    def finding(self) -> Finding | None:
        """What the sentence says, as numbers; None without a ratio."""
        if self.ratio is None or self.reference_compute is None:
            return None
        return Finding.of(self.ratio, self.ratio_beyond, self.reference_compute)

    def sentence(self) -> str:
        """The conclusion in one sentence."""
        return sentence(self.studied, self.rival, self.metric, self.finding, self.reason)


def compare(
    studied: Side,
    rival: Side,
    *,
    options: CompareOptions = CompareOptions(),
    tuning: TuningBudget | None = None,
) -> Comparison:
    """Difference, ratio, crossing and nested tests of two sides, or why there are none."""
    bare = _bare(studied, rival, tuning)
    unequal = "" if tuning is None or tuning.equal else tuning.statement
    refused = incomparable(studied, rival) or unequal
    if refused:
        unstated = studied.fit.law is None or rival.fit.law is None
        status = ComparisonStatus.NOT_IDENTIFIED if unstated else ComparisonStatus.REFUSED
        return dataclasses.replace(bare, status=status, reason=refused)
    low, high = shared_range(studied, rival)
    if low > high:
        return dataclasses.replace(bare, reason=_disjoint(studied, rival))
    compared = _compared(bare, studied, rival, options)
    if options.nested:
        tests, reason = nested_tests(studied, rival, seed=options.seed)
        compared = dataclasses.replace(compared, nested=tests, nested_reason=reason)
    if options.sensitivity:
        compared = dataclasses.replace(compared, sensitivities=_sensitivities(compared, studied, rival, options))
    return compared


def _bare(studied: Side, rival: Side, tuning: TuningBudget | None) -> Comparison:
    pairs = pairing(studied, rival)
    notes = [NOT_TOLD if tuning is None else tuning.statement, pairs.statement]
    notes += [
        f"{len(side.failed)} failed or incomplete runs of {side.objective} "
        f"({side.failed_share:.0%}) are counted and not fitted"
        for side in (studied, rival)
        if side.failed is not None and len(side.failed)
    ]
    nothing_M = np.zeros(0)
    return Comparison(
        studied=studied.objective,
        rival=rival.objective,
        metric=studied.metric,
        status=ComparisonStatus.NOT_IDENTIFIED,
        reason="nothing was compared",
        compute_M=nothing_M,
        studied_error_M=nothing_M,
        rival_error_M=nothing_M,
        probability_better_M=nothing_M,
        pairing=pairs,
        tuning=tuning,
        notes=tuple(notes),
    )


def _compared(bare: Comparison, studied: Side, rival: Side, options: CompareOptions) -> Comparison:
    """The comparison of two sides with laws and a shared range."""
    low, high = shared_range(studied, rival)
    frontiers = paired_frontiers(
        studied, rival, compute_grid(studied, rival), num_refits=options.num_refits, seed=options.seed
    )
    rows_M = _between(frontiers.compute_G, low, high)
    ratio = _ratio(frontiers, None, rows_M, studied, rival, options.level)
    reference = options.reference_compute or float(frontiers.compute_G[rows_M[-1]])
    compared = dataclasses.replace(
        bare,
        reason=frontiers.reason,
        compute_M=frontiers.compute_G[rows_M],
        studied_error_M=frontiers.studied_G[rows_M],
        rival_error_M=frontiers.rival_G[rows_M],
        ratio=ratio,
        difference=no_differences(frontiers, rows_M, options.level),
        reference_compute=reference,
    )
    if frontiers.reason:
        return compared
    return _with_intervals(compared, frontiers, rows_M, studied, rival, options.level)


def _with_intervals(
    compared: Comparison,
    frontiers: PairedFrontiers,
    rows_M: npt.NDArray[np.int64],
    studied: Side,
    rival: Side,
    level: float,
) -> Comparison:
    tails = Tails.of(frontiers, level)
    top = float(frontiers.compute_G[rows_M[-1]])
    beyond_M = np.append(rows_M[-1], _between(frontiers.compute_G, top * (1 + 1e-6), top * REACH))
    differences = Differences.of(frontiers, tails, rows_M)
    return dataclasses.replace(
        compared,
        status=ComparisonStatus.OK,
        difference=differences.band(),
        ratio=_ratio(frontiers, tails, rows_M, studied, rival, level),
        ratio_beyond=_ratio(frontiers, tails, beyond_M, studied, rival, level),
        crossing=differences.crossing(),
        probability_better_M=differences.probability_better(),
    )


def _ratio(
    frontiers: PairedFrontiers,
    tails: Tails | None,
    rows_M: npt.NDArray[np.int64],
    studied: Side,
    rival: Side,
    level: float,
) -> RatioBand:
    limits, rival_limits = (
        Limits(low=side.compute_range[0], high=side.compute_range[1], reach=REACH) for side in (studied, rival)
    )
    return ratio_band(frontiers, tails, rows_M, limits=limits, rival=rival_limits, level=level)


def _sensitivities(
    compared: Comparison, studied: Side, rival: Side, options: CompareOptions
) -> tuple[Sensitivity, ...]:
    """The conclusion on shared cells alone, and with failed runs imputed where they are many."""
    found = []
    pairs = compared.pairing
    if pairs.shared and (pairs.studied_only or pairs.rival_only):
        sides = (on_shared_cells(studied, pairs), on_shared_cells(rival, pairs))
        fewer = sum(len(old.fit.observations) - len(new.fit.observations) for old, new in zip((studied, rival), sides))
        found.append(_repeated("only cells that both objectives have", fewer, sides, compared, options))
    if max(studied.failed_share, rival.failed_share) > FEW_FAILED:
        sides = (with_failed_as_worst(studied), with_failed_as_worst(rival))
        more = sum(len(side.failed) for side in (studied, rival) if side.failed is not None)
        rule = "failed runs as bad as the worst completed run of their tower"
        found.append(_repeated(rule, more, sides, compared, options))
    return tuple(found)


def _repeated(
    rule: str, num_points: int, sides: tuple[Side, Side], compared: Comparison, options: CompareOptions
) -> Sensitivity:
    reference = compared.reference_compute
    again = compare(*sides, options=dataclasses.replace(options, nested=False, sensitivity=False))
    if again.ratio is None or reference is None:
        return Sensitivity(rule=rule, num_points=num_points, ratio=None, reason=again.reason)
    try:
        ratio = again.ratio_at(reference)
    except ValueError as error:
        return Sensitivity(rule=rule, num_points=num_points, ratio=None, reason=str(error))
    return Sensitivity(rule=rule, num_points=num_points, ratio=ratio, reason=ratio.reason)


def _disjoint(studied: Side, rival: Side) -> str:
    (low, high), (rival_low, rival_high) = studied.compute_range, rival.compute_range
    return (
        f"{studied.objective} was trained with {low:.2g} to {high:.2g} FLOPs, {rival.objective} with "
        f"{rival_low:.2g} to {rival_high:.2g}: no compute in common"
    )


def _between(compute_G: Floats, low: float, high: float) -> npt.NDArray[np.int64]:
    """Every STRIDE-th row of the grid from low to high, always the last one; the nearest one if none is between."""
    rows = np.flatnonzero((compute_G >= low * (1 - 1e-9)) & (compute_G <= high * (1 + 1e-9)))
    return rows[::-STRIDE][::-1] if len(rows) else np.asarray([_nearest(compute_G, low)])


def _nearest(compute_G: Floats, compute: float) -> int:
    return int(np.argmin(np.abs(np.log(compute_G / compute))))
