"""The learning rate as a function of samples seen: the one place where samples become a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

SCHEDULES = ("cosine", "wsd")

DECAY_SHAPES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {"one_minus_sqrt": lambda progress: 1 - math.sqrt(progress), "linear": lambda progress: 1 - progress}
)
"""Share of the peak that is left by the progress of the decay in [0, 1]; Haegele et al. 2024, arXiv 2405.18392, eq. 2
and the linear cooldown beside it."""


def learning_rate_of_step(
    first_sample: int,
    global_batch: int,
    *,
    peak: float,
    warmup_samples: int,
    total_samples: int,
    schedule: str,
    decay_from: int = 0,
    decay_shape: str = "one_minus_sqrt",
) -> float:
    """The learning rate of the step that shows samples first_sample, ..., first_sample + global_batch - 1.

    Linear warm-up, which reaches `peak` with the step that ends at warmup_samples; then a half cosine to zero at
    total_samples ("cosine", as in open_clip and the SuperClass recipe), or `peak` as far as the sample `decay_from`,
    and from there one of DECAY_SHAPES to zero at total_samples ("wsd": warm-up, stable, decay; arXiv 2404.06395,
    section 4).
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: unknown {schedule!r}. Known: {', '.join(SCHEDULES)}.")
    if first_sample < warmup_samples:
        return peak * min(1.0, (first_sample + global_batch) / warmup_samples)
    if schedule == "cosine":
        progress = (first_sample - warmup_samples) / (total_samples - warmup_samples)
        return 0.5 * peak * (1 + math.cos(math.pi * min(1.0, progress)))
    progress = (first_sample - decay_from) / (total_samples - decay_from)
    return peak * DECAY_SHAPES[decay_shape](min(1.0, max(0.0, progress)))
