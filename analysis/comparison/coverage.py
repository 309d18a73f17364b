"""How often the ratio interval holds the truth, and how often it tells two objectives apart, in simulated studies."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import beta

from analysis.comparison.paired import REACH, Tails, compute_grid, paired_frontiers
from analysis.comparison.ratio import Limits, RatioBand, ratio_band
from analysis.comparison.side import Side, incomparable, shared_range
from analysis.comparison.worlds import Design, Noise, Truth, bounded, simulate
from analysis.intervals.interval import LEVEL, Interval, no_interval

AT = (1.0, 3.0)  # times the largest compute of the design


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """Counts over worlds of one kind, at one compute."""

    design: str
    at: float  # times the largest compute of the design
    ratio: float  # the truth
    num_worlds: int
    num_covered: int  # the interval holds the truth; an open side excludes nothing
    num_closed: int  # both sides are closed
    num_decided: int  # a ratio of 1 is excluded
    median_doublings: float  # log2(upper / lower), inf where open

    @property
    def share(self) -> float:
        """Share of the worlds whose interval holds the truth."""
        return self.num_covered / self.num_worlds

    @property
    def range(self) -> tuple[float, float]:
        """Where the true coverage may lie, with 95 % confidence (Clopper & Pearson 1934)."""
        hits, misses = self.num_covered, self.num_worlds - self.num_covered
        lower = float(beta.ppf(0.025, hits, misses + 1)) if hits else 0.0
        return lower, float(beta.ppf(0.975, hits + 1, misses)) if misses else 1.0


def coverage(
    design: Design,
    *,
    num_worlds: int,
    ratio: float = 1.0,
    truth: Truth = bounded,
    noise: Noise = Noise(),
    num_refits: int = 199,
    first_seed: int = 0,
) -> tuple[Coverage, ...]:
    """The coverage in worlds of a design, at each of the computes AT."""
    intervals = [
        ratio_intervals(
            *simulate(design, seed=seed, ratio=ratio, truth=truth, noise=noise),
            num_refits=num_refits,
            seed=seed,
        )
        for seed in range(first_seed, first_seed + num_worlds)
    ]
    return tuple(
        _counted(design.name, at, ratio, [world[column] for world in intervals])
        for column, at in enumerate(AT)
    )


def ratio_intervals(studied: Side, rival: Side, *, num_refits: int, seed: int) -> tuple[Interval, ...]:
    """The intervals of the ratio at AT times the largest compute of both; `compare` without the rest."""
    refused = incomparable(studied, rival)
    if refused:
        return tuple(no_interval(1.0, level=LEVEL, method="none", reason=refused) for _ in AT)
    frontiers = paired_frontiers(
        studied, rival, compute_grid(studied, rival), num_refits=num_refits, seed=seed
    )
    top = shared_range(studied, rival)[1]
    rows_M = np.asarray([int(np.argmin(np.abs(np.log(frontiers.compute_G / (top * at))))) for at in AT])
    tails = None if frontiers.reason else Tails.of(frontiers, LEVEL)
    limits = [
        Limits(low=side.compute_range[0], high=side.compute_range[1], reach=REACH)
        for side in (studied, rival)
    ]
    band: RatioBand = ratio_band(frontiers, tails, rows_M, limits=limits[0], rival=limits[1], level=LEVEL)
    return tuple(band.at(float(compute)) for compute in band.compute_M)


def _counted(design: str, at: float, ratio: float, intervals: list[Interval]) -> Coverage:
    widths = [
        np.inf if found.lower is None or found.upper is None else float(np.log2(found.upper / found.lower))
        for found in intervals
    ]
    return Coverage(
        design=design,
        at=at,
        ratio=ratio,
        num_worlds=len(intervals),
        num_covered=sum(found.contains(ratio) for found in intervals),
        num_closed=sum(bool(np.isfinite(width)) for width in widths),
        num_decided=sum(not found.contains(1.0) for found in intervals),
        median_doublings=float(np.median(widths)),
    )
