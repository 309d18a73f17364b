"""What a fit minimises."""

from __future__ import annotations

import dataclasses
from typing import Literal

Residual = Literal["error", "log_error", "logit_error"]
Loss = Literal["squares", "huber", "absolute"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FitOptions:
    """Residuals (predicted - measured), how they are counted, and how hard the minimum is looked for."""

    residual: Residual = "error"  # error rates as they are, losses in logarithms
    loss: Loss = "huber"
    huber_delta: float | None = (
        None  # residuals beyond it count linearly; None: HUBER_SCALES median deviations
    )
    num_starts: int = 6  # best seeds of variable projection that are followed to their minima

    def __post_init__(self) -> None:
        if self.huber_delta is not None and (self.loss != "huber" or not self.huber_delta > 0):
            raise ValueError(f"{self}: huber_delta is positive and goes with loss huber.")
        if self.num_starts < 1:
            raise ValueError(f"{self}: num_starts is at least 1.")
