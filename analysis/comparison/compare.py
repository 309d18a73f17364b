"""Comparing two objectives at equal compute.

Shapes.  G compute values of the grid, M of the shared range.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from analysis.comparison.cells import FEW_FAILED, Sensitivity, on_shared_cells, pairing, with_failed_as_worst
from analysis.comparison.comparison import CompareOptions as CompareOptions
from analysis.comparison.comparison import Comparison as Comparison
from analysis.comparison.comparison import ComparisonStatus as ComparisonStatus
from analysis.comparison.difference import Differences, no_differences
from analysis.comparison.nested import nested_tests
from analysis.comparison.paired import REACH, PairedFrontiers, Tails, compute_grid, paired_frontiers
from analysis.comparison.ratio import Limits, RatioBand, ratio_band
from analysis.comparison.side import Side, incomparable, shared_range
from analysis.comparison.tuning import TuningBudget
from analysis.forms.form import Floats
from scaling.units import format_flops

STRIDE = 2  # rows of the grid from one compute of the bands to the next: a tenth of ln compute
NOT_TOLD = "how many settings were tried per cell was not told, so that equal tuning is assumed, not checked"


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
        compared = dataclasses.replace(
            compared, sensitivities=_sensitivities(compared, studied, rival, options)
        )
    return compared


def _bare(studied: Side, rival: Side, tuning: TuningBudget | None) -> Comparison:
    pairs = pairing(studied, rival)
    notes = [NOT_TOLD if tuning is None else tuning.statement, pairs.statement]
    notes += [
        f"failed runs of {side.objective}, counted and not fitted: {len(side.failed)} ({side.failed_share:.0%})"
        for side in (studied, rival)
        if side.failed is not None and len(side.failed)
    ]
    if studied.asked.form != rival.asked.form:
        notes.append(
            f"{studied.objective} has a {studied.asked.form.name} and {rival.objective} a {rival.asked.form.name}, as "
            "no form states a law for both: their difference is in part one between forms"
        )
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
    reference = _reference(options.reference_compute, ratio)
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
        Limits(low=side.compute_range[0], high=side.compute_range[1], reach=REACH)
        for side in (studied, rival)
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
        fewer = sum(
            len(old.fit.observations) - len(new.fit.observations) for old, new in zip((studied, rival), sides)
        )
        found.append(_repeated("only cells that both objectives have", fewer, sides, compared, options))
    if max(studied.failed_share, rival.failed_share) > FEW_FAILED:
        sides = (with_failed_as_worst(studied), with_failed_as_worst(rival))
        more = sum(len(side.failed) for side in (studied, rival) if side.failed is not None)
        rule = "failed runs as bad as the worst completed run of their tower, as outliers of the fit: see the interval"
        found.append(_repeated(rule, more, sides, compared, options))
    return tuple(found)


def _repeated(
    rule: str, num_points: int, sides: tuple[Side, Side], compared: Comparison, options: CompareOptions
) -> Sensitivity:
    reference = compared.reference_compute
    quick = dataclasses.replace(options, nested=False, sensitivity=False, reference_compute=None)
    again = compare(*sides, options=quick)
    if again.ratio is None or reference is None:
        return Sensitivity(rule=rule, num_points=num_points, ratio=None, reason=again.reason)
    try:
        ratio = again.ratio_at(reference)
    except ValueError as error:
        return Sensitivity(rule=rule, num_points=num_points, ratio=None, reason=str(error))
    return Sensitivity(rule=rule, num_points=num_points, ratio=ratio, reason=ratio.reason)


def _reference(wanted: float | None, ratio: RatioBand) -> float:
    """The compute of the sentence: the largest that both have at which no frontier is extrapolated, else the largest.

    ValueError where the ratio is not known or not believed.
    """
    low, high = float(ratio.compute_M[0]), float(ratio.compute_M[-1])
    if wanted is not None and not low <= wanted <= high * REACH:
        raise ValueError(
            f"reference_compute (--at) {format_flops(wanted)} FLOPs: must be between {format_flops(low)}, where both "
            f"objectives have points, and {format_flops(high * REACH)}, {REACH:g} times the largest compute of both."
        )
    if wanted is not None:
        return wanted
    within_M = ratio.compute_M[~ratio.extrapolated_M]
    return float(within_M[-1]) if len(within_M) else high


def _disjoint(studied: Side, rival: Side) -> str:
    (low, high), (rival_low, rival_high) = studied.compute_range, rival.compute_range
    return (
        f"{studied.objective} was trained with {format_flops(low)} to {format_flops(high)} FLOPs, {rival.objective} "
        f"with {format_flops(rival_low)} to {format_flops(rival_high)}: no compute in common"
    )


def _between(compute_G: Floats, low: float, high: float) -> npt.NDArray[np.int64]:
    """Every STRIDE-th row of the grid from low to high, always the last one; the nearest one if none is between."""
    rows = np.flatnonzero((compute_G >= low * (1 - 1e-9)) & (compute_G <= high * (1 + 1e-9)))
    return rows[::-STRIDE][::-1] if len(rows) else np.asarray([_nearest(compute_G, low)])


def _nearest(compute_G: Floats, compute: float) -> int:
    return int(np.argmin(np.abs(np.log(compute_G / compute))))
