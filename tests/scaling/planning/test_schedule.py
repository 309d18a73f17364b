"""How long a sweep takes with several jobs at once."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.planning.schedule import RULE, RULE_OF_TRUNKS, list_schedule


def test_the_longest_runs_start_first_on_the_job_that_is_free_first() -> None:
    schedule = list_schedule({"a": 5.0, "b": 4.0, "c": 3.0, "d": 3.0, "e": 3.0}, 2)
    assert [job.run_ids for job in schedule.jobs] == [("a", "d"), ("b", "c", "e")][::-1]
    assert (schedule.hours, schedule.at_least_hours) == (10.0, 9.0)
    assert schedule.critical_path == ("b", "c", "e")


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


def test_a_run_waits_for_the_one_that_it_branches_from() -> None:
    """The chain a, b, c takes 9 hours; two jobs could do the 12 hours of all in 6."""
    hours = {"a": 2.0, "b": 3.0, "c": 4.0, "d": 3.0}
    schedule = list_schedule(hours, 2, {"b": "a", "c": "b"})
    assert [(job.run_ids, job.starts) for job in schedule.jobs] == [
        (("a", "b", "c"), (0, 2, 5)),
        (("d",), (0,)),
    ]
    assert (schedule.hours, schedule.at_least_hours) == (9.0, 9.0)
    assert schedule.critical_path == ("a", "b", "c")


def test_a_job_idles_where_nothing_is_ready_and_the_critical_path_crosses_jobs() -> None:
    """b and c both branch from a: one of them starts on the other job, when a has ended."""
    schedule = list_schedule({"a": 2.0, "b": 4.0, "c": 5.0}, 2, {"b": "a", "c": "a"})
    assert {(job.run_ids, job.starts, job.hours) for job in schedule.jobs} == {
        (("a", "c"), (0.0, 2.0), 7.0),
        (("b",), (2.0,), 6.0),
    }
    assert schedule.critical_path == ("a", "c") and schedule.at_least_hours == 7.0
    crossing = list_schedule({"a": 2.0, "b": 5.0, "x": 2.0, "c": 4.0}, 2, {"b": "a", "c": "x"})
    assert crossing.hours == 7.0 and crossing.critical_path == ("a", "b")


def test_a_run_that_branches_from_one_that_is_done_does_not_wait() -> None:
    hours = {"a": 5.0, "b": 4.0, "c": 3.0}
    assert list_schedule(hours, 2, {"a": "finished"}) == list_schedule(hours, 2)
    assert list_schedule(hours, 2, {"a": "finished"}).rule == RULE
    assert list_schedule(hours, 2, {"b": "a"}).rule == RULE_OF_TRUNKS


@given(
    lengths=st.lists(st.floats(0.1, 10), min_size=1, max_size=12),
    num_jobs=st.integers(1, 4),
    data=st.data(),
)
def test_no_run_starts_before_the_one_that_it_branches_from_has_ended(
    lengths: list[float], num_jobs: int, data: st.DataObject
) -> None:
    hours = {f"{index:02}": taken for index, taken in enumerate(lengths)}
    waits_for = {}
    for index in range(1, len(lengths)):
        first = data.draw(st.none() | st.integers(0, index - 1))
        if first is not None:
            waits_for[f"{index:02}"] = f"{first:02}"
    schedule = list_schedule(hours, num_jobs, waits_for)
    starts = {run: start for job in schedule.jobs for run, start in zip(job.run_ids, job.starts, strict=True)}
    assert starts.keys() == hours.keys()
    for run, first in waits_for.items():
        assert starts[run] >= starts[first] + hours[first]
    for job in schedule.jobs:
        for before, run in itertools.pairwise(job.run_ids):
            assert starts[run] >= starts[before] + hours[before]
    assert schedule.hours == max(starts[run] + hours[run] for run in hours)
    assert schedule.at_least_hours - 1e-9 <= schedule.hours
    # Graham's is of this bound too
    assert schedule.hours <= (2 - 1 / num_jobs) * schedule.at_least_hours + 1e-9
    _check_critical(schedule.critical_path, starts, hours, schedule.hours)


def _check_critical(
    path: tuple[str, ...], starts: dict[str, float], hours: dict[str, float], end: float
) -> None:
    """It begins with the sweep, ends with it, and nobody waits on it."""
    assert starts[path[0]] == 0 and starts[path[-1]] + hours[path[-1]] == end
    for before, run in itertools.pairwise(path):
        assert starts[run] == starts[before] + hours[before]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 4))
def test_where_nobody_waits_the_longest_run_goes_to_the_job_that_is_free_first(
    lengths: list[int], num_jobs: int
) -> None:
    hours = {str(index): float(taken) for index, taken in enumerate(lengths)}
    jobs: list[list[str]] = [[] for _ in range(num_jobs)]
    for run in sorted(hours, key=lambda name: (-hours[name], name)):
        min(jobs, key=lambda names: sum(hours[name] for name in names)).append(run)
    found = list_schedule(hours, num_jobs)
    assert sorted(list(job.run_ids) for job in found.jobs) == sorted(names for names in jobs if names)
