"""Faults that the loop itself can see."""

from __future__ import annotations

import math

MOST_SKIPPED_STEPS = 10
"""Steps in a row that DeepSpeed may skip for a non-finite gradient before the run counts as diverged. It skips them
silently and for ever; a healthy bf16 run skips none (assumption)."""


class Diverged(RuntimeError):
    """The loss or the gradients are no longer finite."""


class StepGuard:
    """Raises Diverged instead of letting a diverged run use up its budget."""

    def __init__(self) -> None:
        self._skipped_in_a_row = 0

    def note_step(self, step: int, *, was_skipped: bool) -> None:
        """Look at one step."""
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if was_skipped else 0
        if self._skipped_in_a_row >= MOST_SKIPPED_STEPS:
            raise Diverged(
                f"the gradients of {self._skipped_in_a_row} steps in a row up to step {step:,} were not finite"
            )

    def check_loss(self, step: int, loss: float) -> None:
        """Look at a loss that was read; equal on all ranks, so that all stop together."""
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {step:,}")
