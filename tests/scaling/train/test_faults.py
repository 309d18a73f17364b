from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from scaling.train.faults import MOST_SKIPPED_STEPS, Diverged, StepGuard, TooManyBadSamples


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_weights_that_are_not() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4))
    StepGuard().check_loss(1, 0.5, module)
    with pytest.raises(
        Diverged, match="nan at step 1,000; all weights are finite, so the logits of this step"
    ):
        StepGuard().check_loss(1000, math.nan, module)
    with torch.no_grad():
        module[1].weight[3, 1] = math.inf
    with pytest.raises(Diverged, match=r"inf at step 7; not finite: 1.weight \[4, 2\]. Lower learning_rate"):
        StepGuard().check_loss(7, math.inf, module)


def test_more_bad_samples_than_allowed_end_the_run_and_a_few_do_not() -> None:
    guard = StepGuard()
    guard.check_samples(16, 64, 0.05, {"undecodable image": 16})
    guard.check_samples(50, 1_000, 0.05, {"undecodable image": 50})
    with pytest.raises(
        TooManyBadSamples, match=r"51 of 1,000 samples .* \(truncated image: 50, .*: 1\).*\(0.05\)"
    ):
        guard.check_samples(51, 1_000, 0.05, {"undecodable image": 1, "truncated image": 50})


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
