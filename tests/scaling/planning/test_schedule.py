"""How long a sweep takes with several jobs at once."""

from __future__ import annotations

import itertools
import random

import pytest

from scaling.planning.schedule import list_schedule


def test_the_longest_runs_start_first_on_the_job_that_is_free_first() -> None:
    schedule = list_schedule({"a": 5.0, "b": 4.0, "c": 3.0, "d": 3.0, "e": 3.0}, 2)
    assert [job.run_ids for job in schedule.jobs] == [("a", "d"), ("b", "c", "e")][::-1]
    assert (schedule.hours, schedule.at_least_hours) == (10.0, 9.0)
    assert schedule.critical_path.run_ids == ("b", "c", "e")


def test_one_job_takes_the_sum_and_one_job_per_run_the_longest() -> None:
    hours = {"a": 5.0, "b": 4.0, "c": 3.0}
    assert list_schedule(hours, 1).hours == 12.0
    assert list_schedule(hours, 3).hours == list_schedule(hours, 9).hours == 5.0


def test_it_ends_within_graham_s_bound_of_the_best_schedule() -> None:
    numbers = random.Random(0)
    for _ in range(20):
        hours = {str(i): numbers.uniform(1, 10) for i in range(7)}
        found, best = list_schedule(hours, 3), _best(list(hours.values()), 3)
        assert best - 1e-9 <= found.hours <= (4 / 3 - 1 / 9) * best + 1e-9
        assert found.at_least_hours <= best + 1e-9
        assert sorted(run for job in found.jobs for run in job.run_ids) == sorted(hours)


def _best(hours: list[float], num_jobs: int) -> float:
    """By trying every assignment."""
    ends = []
    for jobs in itertools.product(range(num_jobs), repeat=len(hours)):
        totals = [sum(h for h, job in zip(hours, jobs, strict=True) if job == one) for one in range(num_jobs)]
        ends.append(max(totals))
    return min(ends)


def test_jobs_beyond_the_runs_are_none() -> None:
    """A million of them neither take long nor fill a plan's file."""
    schedule = list_schedule({"a": 5.0, "b": 4.0}, 10**12)
    assert [job.run_ids for job in schedule.jobs] == [("a",), ("b",)]
    assert (schedule.hours, schedule.at_least_hours) == (5.0, 5.0)
    assert list_schedule({}, 3).jobs[0].run_ids == ()


def test_no_job_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--jobs \(0\) must be at least 1"):
        list_schedule({"a": 1.0}, 0)
