from __future__ import annotations

import math

import pytest

from scaling.train.faults import MOST_SKIPPED_STEPS, Diverged, StepGuard


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    with pytest.raises(Diverged, match="nan at step 1,000"):
        StepGuard().check_loss(1000, math.nan)


def test_steps_that_the_engine_skips_one_after_another_end_the_run() -> None:
    guard = StepGuard()
    for step in range(MOST_SKIPPED_STEPS - 1):
        guard.note_step(step, was_skipped=True)
    with pytest.raises(Diverged, match="not finite"):
        guard.note_step(MOST_SKIPPED_STEPS, was_skipped=True)


def test_a_skipped_step_now_and_then_does_not_end_the_run() -> None:
    guard = StepGuard()
    for step in range(10 * MOST_SKIPPED_STEPS):
        guard.note_step(step, was_skipped=step % 2 == 0)
    for step in range(MOST_SKIPPED_STEPS - 1):
        guard.note_step(step, was_skipped=True)
    with pytest.raises(Diverged):  # only now are there too many in a row
        guard.note_step(MOST_SKIPPED_STEPS, was_skipped=True)
