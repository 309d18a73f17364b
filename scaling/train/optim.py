"""The learning rate as a function of samples seen: the one place where samples become a schedule."""

from __future__ import annotations

import math


def learning_rate_at(
    samples_seen: int, *, peak: float, warmup_samples: int, total_samples: int, schedule: str
) -> float:
    """The learning rate of the step that starts after `samples_seen` samples.

    Linear warm-up to `peak` at warmup_samples, then a half cosine to zero at total_samples ("cosine", as in
    open_clip and the SuperClass recipe).
    """
    if schedule != "cosine":
        raise ValueError(f"schedule: unknown {schedule!r}. Known: cosine.")
    if samples_seen < warmup_samples:
        return peak * samples_seen / warmup_samples
    progress = (samples_seen - warmup_samples) / (total_samples - warmup_samples)
    return 0.5 * peak * (1 + math.cos(math.pi * min(1.0, progress)))
