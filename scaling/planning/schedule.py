"""How long a sweep takes when several of its runs train at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

RULE = "longest processing time first: the longest run that waits goes to the job that is free first"
RULE_OF_TRUNKS = (
    "longest chain first: of the runs whose trunk is trained as far as they need it, the one with the longest chain of "
    "runs that branch from it, itself included, goes to the job that is free first"
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Job(_Frozen):
    """Runs that train one after the other on the same devices."""

    run_ids: tuple[str, ...]
    hours: float  # until the last of them ends
    # hour at which each begins; a job idles where the next run waits for another job
    starts: tuple[float, ...] = ()


class Schedule(_Frozen):
    """Which job trains which runs; the longest job ends last."""

    rule: str = RULE
    jobs: tuple[Job, ...]  # longest first; no more than there are runs
    # no schedule ends earlier: the longest run or chain of runs, or the mean of the jobs
    at_least_hours: float
    critical_run_ids: tuple[str, ...] = ()

    @property
    def critical_path(self) -> tuple[str, ...]:
        """What decides when the sweep ends: runs each of which begins when the one before it ends."""
        return self.critical_run_ids or self.jobs[0].run_ids  # plans of before runs could wait have no other

    @property
    def hours(self) -> float:
        """Wall hours until the last run ends."""
        return self.jobs[0].hours


NO_BRANCHES: Mapping[str, str] = MappingProxyType({})


def list_schedule(
    hours: Mapping[str, float], num_jobs: int, branches_from: Mapping[str, str] = NO_BRANCHES
) -> Schedule:
    """The list schedule of runs, each of so many wall hours; ValueError without a job.

    A run begins when the one it branches from has ended, if that is among them. The last run ends at most 2 - 1/n times
    as late as in the best schedule of n jobs, and where no run waits for another 4/3 - 1/(3 n) times (Graham 1969,
    "Bounds on multiprocessing timing anomalies", theorems 1 and 2).
    """
    if num_jobs < 1:
        raise ValueError(f"--jobs ({num_jobs}) must be at least 1: so many runs train at once.")
    waits_for = {run: first for run, first in branches_from.items() if run in hours and first in hours}
    chains = _chains(hours, waits_for)
    waiting = sorted(hours, key=lambda name: (-chains[name], name))
    num_jobs = max(1, min(num_jobs, len(hours)))
    runs: list[list[str]] = [[] for _ in range(num_jobs)]
    free, starts, ends = [0.0] * num_jobs, dict[str, float](), dict[str, float]()
    while waiting:
        job = free.index(min(free))
        run = next((run for run in waiting if _is_ready(run, waits_for, ends, free[job])), None)
        if run is None:
            free[job] = min(end for end in ends.values() if end > free[job])
            continue
        waiting.remove(run)
        runs[job].append(run)
        starts[run] = free[job]
        ends[run] = free[job] = free[job] + hours[run]
    jobs = _jobs(runs, starts, ends)
    return Schedule(
        rule=RULE_OF_TRUNKS if waits_for else RULE,
        jobs=jobs,
        at_least_hours=max(max(chains.values(), default=0.0), sum(hours.values()) / num_jobs),
        critical_run_ids=_critical(jobs, waits_for, starts, ends),
    )


def _chains(hours: Mapping[str, float], waits_for: Mapping[str, str]) -> dict[str, float]:
    """Hours of each run and the longest chain of runs that wait for it, one for the other."""
    following: dict[str, list[str]] = {}
    for run, first in waits_for.items():
        following.setdefault(first, []).append(run)

    def chain(run: str) -> float:
        return hours[run] + max(map(chain, following.get(run, ())), default=0.0)

    return {run: chain(run) for run in hours}


def _is_ready(run: str, waits_for: Mapping[str, str], ends: Mapping[str, float], now: float) -> bool:
    return run not in waits_for or ends.get(waits_for[run], math.inf) <= now


def _jobs(
    runs: Sequence[Sequence[str]], starts: Mapping[str, float], ends: Mapping[str, float]
) -> tuple[Job, ...]:
    """The jobs, the longest first."""
    jobs = [
        Job(
            run_ids=tuple(names),
            hours=ends[names[-1]] if names else 0.0,
            starts=tuple(starts[name] for name in names),
        )
        for names in runs
    ]
    return tuple(sorted(jobs, key=lambda job: -job.hours))


def _critical(
    jobs: Sequence[Job],
    waits_for: Mapping[str, str],
    starts: Mapping[str, float],
    ends: Mapping[str, float],
) -> tuple[str, ...]:
    """The runs that lead to the one that ends last, each of which ends when the next begins."""
    previous = {run: before for job in jobs for before, run in itertools.pairwise(job.run_ids)}
    path = list(jobs[0].run_ids[-1:])
    while path and starts[path[0]] > 0:
        candidates = (previous.get(path[0]), waits_for.get(path[0]))
        path.insert(0, next(run for run in candidates if run is not None and ends[run] == starts[path[0]]))
    return tuple(path)
