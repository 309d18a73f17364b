"""A profile of a tiny point, by the plain engine: what profiles have in common does not depend on the engine."""

from __future__ import annotations

import functools
from pathlib import Path
from tempfile import mkdtemp

from scaling.points import RunPoint, resolve_points
from scaling.profile.machine import MachinePeaks
from scaling.profile.reduced_point import reduced
from scaling.profile.step_profile import StepProfile, profile_steps
from scaling.spec import load_sweep

QUICKSTART = Path(__file__).resolve().parents[3] / "sweeps" / "quickstart.yaml"
PEAKS = MachinePeaks(
    flops_per_second=1e11, bytes_per_second=1e10, source="a machine that is easy to compute with"
)


@functools.cache
def points() -> list[RunPoint]:
    """Those of the quickstart."""
    absent = "data.train=" + str(QUICKSTART.parent / "no such set")
    sweep = load_sweep(QUICKSTART, [absent])
    return resolve_points(sweep, num_ranks=1, require_data=False)


def point_of(objective: str) -> RunPoint:
    """The cheapest point of an objective, to be trained by the plain engine."""
    point = next(point for point in points() if point.science.objective == objective)
    return point.model_copy(update={"placement": point.placement.model_copy(update={"engine": "plain"})})


@functools.cache
def profile_of(objective: str) -> StepProfile:
    """The profile of that point."""
    files = Path(mkdtemp()) / objective
    return profile_steps(reduced(point_of(objective), "cpu"), PEAKS, steps=2, files=files)
