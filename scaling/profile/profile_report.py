"""The profile of a sweep in plain values: what the JSON holds, and what the page is made of."""

from __future__ import annotations

import dataclasses
from typing import Any

from scaling.profile.comparison import Compared
from scaling.profile.machine import MachinePeaks
from scaling.profile.step_profile import StepProfile
from scaling.profile.training_batches import origin_of

MOST_OPERATORS = 200  # in the JSON, of those that took longest


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProfileReport:
    """What was measured of a sweep on this machine."""

    sweep: str
    question: str
    peaks: MachinePeaks
    profiles: list[StepProfile]
    compared: list[Compared]
    files: dict[str, list[str]]  # by run id, paths from the page: Chrome trace, memory snapshot


def report_as_json(report: ProfileReport) -> dict[str, Any]:
    """The report in plain values; units are in the names, FLOPs are 2 x multiply-adds."""
    return {
        "sweep": report.sweep,
        "peaks": dataclasses.asdict(report.peaks),
        "profiles": [_profile_as_json(profile, report.peaks) for profile in report.profiles],
        "compared_with_clip": [dataclasses.asdict(row) for row in report.compared],
        "files": report.files,
    }


def _profile_as_json(profile: StepProfile, peaks: MachinePeaks) -> dict[str, Any]:
    point = profile.reduced.point
    plain = {field.name: getattr(profile, field.name) for field in dataclasses.fields(profile)}
    for name in ("reduced", "memory", "modules", "operators"):
        plain.pop(name)
    return {
        "run_id": point.run_id,
        "changes": profile.reduced.changes,
        "pictures": origin_of(point),
        "science": point.science.model_dump(mode="json"),
        "placement": point.placement.model_dump(mode="json"),
        **plain,
        "is_disturbed": profile.is_disturbed,
        "samples_per_second": profile.samples_per_second,
        "memory_at_peak_bytes": {**profile.memory.peak.bytes_by_class, "total": profile.memory.peak.total},
        "memory_timeline": [dataclasses.asdict(moment) for moment in profile.memory.moments],
        "modules": [dataclasses.asdict(row) for row in profile.modules],
        "operators": [
            {**dataclasses.asdict(each), "share_of_roof": each.share_of_roof(peaks)}
            for each in profile.operators[:MOST_OPERATORS]
        ],
    }
