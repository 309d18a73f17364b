"""The learning rate as a function of samples seen: the one place where samples become a schedule."""

from __future__ import annotations

import math


def learning_rate_of_step(
    first_sample: int,
    global_batch: int,
    *,
    peak: float,
    warmup_samples: int,
    total_samples: int,
    schedule: str,
) -> float:
    """The learning rate of the step that shows samples first_sample, ..., first_sample + global_batch - 1.

    Linear warm-up, which reaches `peak` with the step that ends at warmup_samples; then a half cosine to zero at
    total_samples ("cosine", as in open_clip and the SuperClass recipe).
    """
    if schedule != "cosine":
        raise ValueError(f"schedule: unknown {schedule!r}. Known: cosine.")
    if first_sample < warmup_samples:
        return peak * min(1.0, (first_sample + global_batch) / warmup_samples)
    progress = (first_sample - warmup_samples) / (total_samples - warmup_samples)
    return 0.5 * peak * (1 + math.cos(math.pi * min(1.0, progress)))
