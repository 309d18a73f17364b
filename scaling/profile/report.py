"""`scaling profile SWEEP`: a few real steps of a sweep's points, written down as one HTML page and JSON."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from scaling.points import RunPoint, resolve_points
from scaling.profile.comparison import BASELINE, compare_with_clip
from scaling.profile.machine import measured_peaks
from scaling.profile.one_rank import process_group_of_one
from scaling.profile.profile_report import ProfileReport, report_as_json
from scaling.profile.reduced_point import points_to_profile, reduced
from scaling.profile.render import page_of
from scaling.profile.step_profile import StepProfile, profile_steps
from scaling.records import write_atomically
from scaling.spec import Sweep


def profile_sweep(
    sweep: Sweep, point_id: str | None, steps: int, output: Path | None, console: Console
) -> int:
    """The exit status, 0: the profiles of the sweep's points, or of one, are written to `output` and beside it.

    Default: runs/<sweep>/profile.html.  ValueError for an output that is not .html, no steps, or an unknown point.
    """
    path = output or Path("runs") / sweep.name / "profile.html"
    if path.suffix != ".html":
        raise ValueError(f"--output {path}: the profile is an HTML page; give a path that ends in .html.")
    if steps < 1:
        raise ValueError(f"--steps {steps}: at least one step has to be timed; 3 are usual.")
    points = points_to_profile(resolve_points(sweep, num_ranks=1, require_data=False), point_id)
    files = path.parent / f"{path.stem}_files"
    files.mkdir(parents=True, exist_ok=True)
    report = _profiled(sweep, points, steps, files, console)
    write_atomically(path, page_of(report))
    write_atomically(path.with_suffix(".json"), json.dumps(report_as_json(report), indent=1))
    for row in report.compared:
        if row.objective != BASELINE:
            console.print(row.sentence, highlight=False)
    console.print(f"profile: {path} (numbers: {path.with_suffix('.json').name})", soft_wrap=True)
    return 0


def _profiled(
    sweep: Sweep, points: Sequence[RunPoint], steps: int, files: Path, console: Console
) -> ProfileReport:
    profiles: list[StepProfile] = []
    with process_group_of_one() as device, Progress(console=console, transient=True) as progress:
        peaks = measured_peaks(device, points[0].science.precision)
        task = progress.add_task("profiling", total=len(points))
        for point in points:
            progress.update(task, description=point.run_id)
            small = reduced(point, device.type)
            profiles.append(profile_steps(small, peaks, steps=steps, files=files / point.run_id))
            gc.collect()  # engines are kept alive by reference cycles
            progress.advance(task)
    return ProfileReport(
        sweep=sweep.name,
        question=sweep.question,
        peaks=peaks,
        profiles=profiles,
        compared=compare_with_clip(profiles),
        files={point.run_id: _written(files, point.run_id) for point in points},
    )


def _written(files: Path, run_id: str) -> list[str]:
    return [f"{files.name}/{path.name}" for path in sorted(files.glob(f"{run_id}.*"))]
