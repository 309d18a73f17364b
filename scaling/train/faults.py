"""Faults that the loop itself can see."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

NAMED_WEIGHTS = 5  # that the reason of a failure lists

MOST_BAD_AT_THE_START = 16  # images; a share of the first few samples says nothing

MOST_SKIPPED_STEPS = 10
"""Steps in a row that DeepSpeed may skip for a non-finite gradient before the run counts as diverged. It skips them
silently and for ever; a healthy bf16 run skips none (assumption)."""


class Diverged(RuntimeError):
    """The loss or the gradients are no longer finite."""


class TooManyBadSamples(RuntimeError):
    """More of the data is damaged than the sweep allows."""


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

    def check_loss(self, step: int, loss: float, objective: nn.Module) -> None:
        """Look at a loss that was read; equal on all ranks, so that all stop together."""
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {step:,}; {describe_non_finite(objective)}")

    def check_samples(
        self, num_bad: int, samples_seen: int, limit: float, rejects: Mapping[str, int]
    ) -> None:
        """Look at how many images did not decode, over all ranks; few of a long run are masked and recorded."""
        if num_bad > max(limit * samples_seen, MOST_BAD_AT_THE_START):
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(rejects.items()))
            raise TooManyBadSamples(
                f"{num_bad:,} of {samples_seen:,} samples had no image that decodes ({reasons}), more than "
                f"bad_samples_limit ({limit:g}) allows: run `scaling data check`, or raise the limit"
            )


def describe_non_finite(objective: nn.Module) -> str:
    """Which weights are not finite, by name and shape, for the reason of a run that diverged."""
    found = [
        f"{name} {list(parameter.shape)}"
        for name, parameter in objective.named_parameters()
        if not torch.isfinite(parameter).all()
    ]
    if not found:
        return "all weights are finite, so the logits of this step are not: look at its samples, or lower learning_rate"
    more = f" and {len(found) - NAMED_WEIGHTS} more" if len(found) > NAMED_WEIGHTS else ""
    return (
        f"not finite: {', '.join(found[:NAMED_WEIGHTS])}{more}. Lower learning_rate, or set gradient_clipping"
    )
