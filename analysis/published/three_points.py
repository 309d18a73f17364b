"""What three runs per objective can and cannot show.

A law floor + scale * C**-exponent has three parameters: through three points it passes exactly, whatever the truth,
and no residual is left to judge it by. What can be had: slopes per segment, the point that a line through the other
two would have predicted, and the ratio of computes at equal error by interpolation, none of them with an interval.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd

from analysis.forms.form import Floats
from analysis.published.exact_law import ExactLaw, exact_law
from scaling.units import format_flops

NUM_POINTS = 3
NOISE = 0.003  # of an error, assumed: the paper repeats no run; ImageNet accuracies are printed to 0.001


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A point and what the power law through the other two says of it."""

    run_id: str
    error: float
    predicted: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PointsOfObjective:
    """One objective's three points and everything that follows from them."""

    objective: str
    run_ids: tuple[str, ...]  # small to large compute
    compute: tuple[float, ...]
    error: tuple[float, ...]
    slopes: tuple[float, ...]  # -d ln error / d ln compute, per segment
    law: ExactLaw | None  # None: no law of this form with a floor of 0 or more passes through the points
    left_out: tuple[LeftOut, ...]
    floors: tuple[float, float] | None  # least and largest over errors moved by +- noise
    exponents: tuple[float, float] | None
    no_law_share: float  # of those moves after which no such law passes through the points


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ThreePoints:
    """Two objectives with three points each."""

    metric: str
    noise: float
    studied: PointsOfObjective
    rival: PointsOfObjective
    ratios: tuple[tuple[float, float], ...]  # (rival's compute, studied's / rival's compute at equal error)

    def sentences(self) -> tuple[str, ...]:
        """What the points show and what they cannot show, in words with numbers."""
        can = [
            self._ratio_sentence(),
            *(_slope_sentence(points) for points in (self.studied, self.rival)),
            *(_left_out_sentence(points) for points in (self.studied, self.rival)),
        ]
        cannot = [
            "Three points exactly determine a law of three parameters: no residual is left, so nothing tells a "
            "good law from a bad one.",
            *(_law_sentence(points, self.noise) for points in (self.studied, self.rival)),
            "Every point is one run with one seed: no interval can be stated for a slope, an exponent or the "
            "ratio, and nothing beyond the largest compute.",
        ]
        return (*can, *cannot)

    def _ratio_sentence(self) -> str:
        if not self.ratios:
            return (
                f"{self.metric}: no ratio at equal error; no error of {self.rival.objective} lies between two of "
                f"{self.studied.objective}, or the latter does not fall with compute."
            )
        told = ", ".join(f"{ratio:.2f}x at {format_flops(compute)} FLOPs" for compute, ratio in self.ratios)
        return (
            f"{self.metric}: to reach the error of {self.rival.objective}, {self.studied.objective} needs {told} "
            "(interpolated, without an interval)."
        )


def three_points(
    pairs: pd.DataFrame,
    metric: str,
    *,
    studied: str = "superclass",
    rival: str = "clip",
    noise: float = NOISE,
) -> ThreePoints:
    """What three runs of each objective show of one metric; ValueError unless there are exactly three of each.

    `pairs` as of published_pairs, of one table: the points must differ in one thing, samples or towers.
    """
    rows = pairs[pairs["metric"] == metric]
    if rows.empty:
        raise ValueError(f"metric {metric!r}: not among {', '.join(sorted(set(pairs['metric'])))}.")
    ours, theirs = (_points(rows, objective, noise) for objective in (studied, rival))
    return ThreePoints(
        metric=metric, noise=noise, studied=ours, rival=theirs, ratios=tuple(_ratios(ours, theirs))
    )


def _points(rows: pd.DataFrame, objective: str, noise: float) -> PointsOfObjective:
    own = rows[rows["objective"] == objective].sort_values("train_flops")
    if len(own) != NUM_POINTS:
        raise ValueError(
            f"{objective}: {len(own)} runs where {NUM_POINTS} are wanted; give the pairs of Table 8 or of Table 9."
        )
    compute, error, names = own["train_flops"].tolist(), own["error"].tolist(), own["run_id"].tolist()
    moved = [
        exact_law(compute, [value + sign * noise for value, sign in zip(error, signs, strict=True)])
        for signs in itertools.product((-1, 1), repeat=NUM_POINTS)
    ]
    laws = [law for law in moved if law is not None]
    log_compute, log_error = np.log(compute), np.log(error)
    return PointsOfObjective(
        objective=objective,
        run_ids=tuple(names),
        compute=tuple(compute),
        error=tuple(error),
        slopes=tuple(map(float, -np.diff(log_error) / np.diff(log_compute))),
        law=exact_law(compute, error),
        left_out=tuple(_left_out(log_compute, log_error, row, names[row]) for row in range(NUM_POINTS)),
        floors=(min(law.floor for law in laws), max(law.floor for law in laws)) if laws else None,
        exponents=(min(law.exponent for law in laws), max(law.exponent for law in laws)) if laws else None,
        no_law_share=1 - len(laws) / len(moved),
    )


def _left_out(log_compute: Floats, log_error: Floats, row: int, run_id: str) -> LeftOut:
    one, two = (other for other in range(NUM_POINTS) if other != row)
    slope = (log_error[two] - log_error[one]) / (log_compute[two] - log_compute[one])
    predicted = log_error[one] + slope * (log_compute[row] - log_compute[one])
    return LeftOut(run_id=run_id, error=math.exp(log_error[row]), predicted=math.exp(predicted))


def _ratios(studied: PointsOfObjective, rival: PointsOfObjective) -> list[tuple[float, float]]:
    """By interpolation of ln compute over ln error, at the rival's errors within the studied's range.

    None where the studied objective's error does not fall from point to point: it has no compute at an error then.
    """
    if min(studied.slopes) <= 0:
        return []
    falling = np.log(studied.error)[::-1], np.log(studied.compute)[::-1]
    return [
        (compute, math.exp(float(np.interp(math.log(error), *falling))) / compute)
        for compute, error in zip(rival.compute, rival.error, strict=True)
        if studied.error[-1] <= error <= studied.error[0]
    ]


def _slope_sentence(points: PointsOfObjective) -> str:
    told = ", then ".join(f"{slope:.3f}" for slope in points.slopes)
    return f"{points.objective}: log-log slope {told}; a pure power law would have one slope."


def _left_out_sentence(points: PointsOfObjective) -> str:
    told = ", ".join(f"{out.run_id} {100 * (out.predicted - out.error):+.1f}" for out in points.left_out)
    return f"{points.objective}: a power law through two points misses the third by {told} points of error."


def _law_sentence(points: PointsOfObjective, noise: float) -> str:
    moved = f"moving each error by {100 * noise:g} points"
    if points.law is None:
        law = f"{points.objective}: no law with a floor of 0 or more passes through the points"
    else:
        law = (
            f"{points.objective}: the law through the points has floor {points.law.floor:.3f} and exponent "
            f"{points.law.exponent:.2f}"
        )
    if points.floors is None or points.exponents is None:
        return f"{law}, nor does one after {moved}."
    return (
        f"{law}; {moved} moves the floor between {points.floors[0]:.3f} and {points.floors[1]:.3f} and the exponent "
        f"between {points.exponents[0]:.2f} and {points.exponents[1]:.2f}, and leaves no such law in "
        f"{100 * points.no_law_share:.0f} % of the moves."
    )
