"""How long a sweep takes when several of its runs train at once."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

RULE = "longest processing time first: the longest run that waits goes to the job that is free first"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Job(_Frozen):
    """Runs that train one after the other on the same devices."""

    run_ids: tuple[str, ...]
    hours: float


class Schedule(_Frozen):
    """Which job trains which runs; the longest job is the critical path."""

    rule: str = RULE
    jobs: tuple[Job, ...]  # longest first; no more than there are runs
    at_least_hours: float  # no schedule ends earlier: the longest run, or the mean of the jobs

    @property
    def critical_path(self) -> Job:
        """What decides when the sweep ends."""
        return self.jobs[0]

    @property
    def hours(self) -> float:
        """Wall hours until the last run ends."""
        return self.critical_path.hours


def list_schedule(hours: Mapping[str, float], num_jobs: int) -> Schedule:
    """The list schedule of runs, each of so many wall hours; ValueError without a job.

    Runs of a sweep do not wait for each other. The last run ends at most 4/3 - 1/(3 n) times as late as in the best
    schedule of n jobs (Graham 1969, "Bounds on multiprocessing timing anomalies").
    """
    if num_jobs < 1:
        raise ValueError(f"--jobs ({num_jobs}) must be at least 1: so many runs train at once.")
    num_jobs = max(1, min(num_jobs, len(hours)))
    runs: list[list[str]] = [[] for _ in range(num_jobs)]
    totals = [0.0] * num_jobs
    for run_id in sorted(hours, key=lambda name: (-hours[name], name)):
        job = totals.index(min(totals))
        runs[job].append(run_id)
        totals[job] += hours[run_id]
    jobs = [Job(run_ids=tuple(names), hours=total) for names, total in zip(runs, totals, strict=True)]
    return Schedule(
        jobs=tuple(sorted(jobs, key=lambda job: -job.hours)),
        at_least_hours=max(max(hours.values(), default=0.0), sum(hours.values()) / num_jobs),
    )
