from __future__ import annotations

import pytest

from scaling.train.optim import DECAY_SHAPES, learning_rate_of_step


def _rate(first_sample: int) -> float:
    return learning_rate_of_step(
        first_sample, 10, peak=1.0, warmup_samples=100, total_samples=1100, schedule="cosine"
    )


def test_the_learning_rate_warms_up_linearly_in_samples_and_falls_to_zero_by_a_half_cosine() -> None:
    assert [_rate(0), _rate(40), _rate(90), _rate(100)] == [0.1, 0.5, 1.0, 1.0]
    assert _rate(600) == pytest.approx(0.5)
    assert _rate(350) == pytest.approx(0.5 * (1 + 2**-0.5))  # cos(pi / 4)
    assert _rate(1100) == pytest.approx(0.0, abs=1e-12)


def test_the_schedule_equals_open_clips_at_every_step() -> None:
    from open_clip_train.scheduler import cosine_lr
    from torch import nn, optim

    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    theirs = cosine_lr(optimizer, 5e-4, 10, 110)
    for step in range(110):
        theirs(step)
        ours = learning_rate_of_step(
            step * 64, 64, peak=5e-4, warmup_samples=640, total_samples=7040, schedule="cosine"
        )
        assert optimizer.param_groups[0]["lr"] == pytest.approx(ours, rel=1e-9, abs=1e-15)


def test_a_warmup_that_ends_within_a_step_never_overshoots() -> None:
    assert (
        learning_rate_of_step(90, 30, peak=1.0, warmup_samples=100, total_samples=1100, schedule="cosine")
        == 1.0
    )


def test_wsd_stays_at_the_peak_and_falls_to_zero_from_where_it_decays() -> None:
    def rate(first_sample: int, shape: str) -> float:
        return learning_rate_of_step(
            first_sample,
            10,
            peak=2.0,
            warmup_samples=100,
            total_samples=1000,
            schedule="wsd",
            decay_from=600,
            decay_shape=shape,
        )

    for shape in DECAY_SHAPES:
        assert [rate(40, shape), rate(100, shape), rate(590, shape), rate(600, shape)] == [1.0, 2.0, 2.0, 2.0]
        assert rate(1000, shape) == 0.0
    assert rate(700, "one_minus_sqrt") == pytest.approx(2.0 * (1 - 0.5))  # a quarter of the decay
    assert rate(700, "linear") == pytest.approx(2.0 * 0.75)


def test_wsd_with_a_linear_decay_equals_open_clips_constant_rate_with_a_cooldown() -> None:
    from open_clip_train.scheduler import const_lr_cooldown
    from torch import nn, optim

    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    theirs = const_lr_cooldown(optimizer, 5e-4, 10, 110, 22)
    for step in range(110):
        theirs(step)
        ours = learning_rate_of_step(
            step * 64,
            64,
            peak=5e-4,
            warmup_samples=640,
            total_samples=7040,
            schedule="wsd",
            decay_from=88 * 64,
            decay_shape="linear",
        )
        assert optimizer.param_groups[0]["lr"] == pytest.approx(ours, rel=1e-9, abs=1e-15)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="Known: cosine"):
        learning_rate_of_step(0, 1, peak=1.0, warmup_samples=1, total_samples=2, schedule="linear")
