"""Step times: percentiles as defined, pauses left out, and events that are asked but never waited for."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaling.train import step_times as module
from scaling.train.step_times import DeviceStepTimes, HostStepTimes, percentiles, step_times


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=300))
def test_percentiles_are_times_of_steps_as_numpy_defines_them(seconds: list[float]) -> None:
    expected = np.percentile(seconds, [50, 90, 99], method="inverted_cdf")
    assert list(percentiles(seconds).values()) == list(expected)


def test_no_steps_have_no_percentiles() -> None:
    assert percentiles([]) == {}


def test_on_a_cpu_steps_are_timed_by_the_clock_and_pauses_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 2.0, 5.0, 100.0, 101.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(moments))
    times = HostStepTimes()  # 0
    times.step_done()  # 2
    times.step_done()  # 5
    times.start()  # 100
    times.step_done()  # 101
    assert times.take() == [2.0, 3.0, 1.0] and times.take() == []


class FakeEvent:
    """An event that passes when the test says so; waiting for it is an error."""

    clock = 0.0
    device = 0.0  # until when the device has worked

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = FakeEvent.clock

    def query(self) -> bool:
        return self.at <= FakeEvent.device

    def elapsed_time(self, other: FakeEvent) -> float:
        assert self.query() and other.query(), "CUDA refuses events that have not passed"
        return (other.at - self.at) * 1000

    def synchronize(self) -> None:
        raise AssertionError("waited for the device")


def test_on_cuda_a_step_that_still_runs_is_taken_with_the_next_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.torch.cuda, "Event", FakeEvent)
    FakeEvent.clock = FakeEvent.device = 0.0
    times = DeviceStepTimes()
    assert times.is_idle()
    for FakeEvent.clock in (1.0, 3.0, 6.0):
        times.step_done()
    FakeEvent.device = 3.0
    assert times.take() == [1.0, 2.0] and not times.is_idle()
    FakeEvent.device = 6.0
    assert times.take() == [3.0] and times.is_idle() and times.take() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_timing_steps_on_a_gpu_never_waits_for_it() -> None:
    device: Any = torch.device("cuda")
    matrix = torch.rand(8192, 8192, device=device)
    times = step_times(device)
    times.start()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(10):
            matrix @ matrix
            times.step_done()
            times.is_idle()
        taken = times.take()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert len(taken + times.take()) == 10
