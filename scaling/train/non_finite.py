"""Losses, gradients and weights that are no longer finite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from scaling.train.collectives import sum_counts_over_ranks
from scaling.train.engines.protocol import Piece
from scaling.train.step_verdicts import NonFiniteKind

NAMED_WEIGHTS = 5  # that the reason of a failure lists


class NonFinite(RuntimeError):
    """Something of a step was not finite; all ranks raise it after the same step."""

    def __init__(self, step: int, what: NonFiniteKind) -> None:
        super().__init__(f"the {what} of step {step:,} {'are' if what == 'weights' else 'is'} not finite")
        self.step = step  # as samples.jsonl counts: from 0
        self.what = what


class Diverged(RuntimeError):
    """The run ends because it is no longer finite."""

    def __init__(self, message: str, facts: dict[str, Any]) -> None:
        super().__init__(message)
        self.facts = facts  # step, what, checkpoint; see records.Status


def names_of_non_finite(pieces: Iterable[Piece]) -> list[str]:
    """The tensors that are not finite on any rank, as "name [shape]", weights first; called by all ranks."""
    found: Counter[str] = Counter()
    for piece in pieces:
        if piece.values.is_floating_point() and not torch.isfinite(piece.values).all():
            kind = "" if piece.kind in ("weight", "buffer") else f"{piece.kind} of "
            found[f"{kind}{piece.name} {list(piece.shape)}"] += 1
    names = sum_counts_over_ranks(found)
    return sorted(names, key=lambda name: (" of " in name, name))


def describe_non_finite(names: Sequence[str]) -> str:
    """What `names_of_non_finite` means, for the reason of a run that diverged."""
    if not names:
        return "all weights are finite, so the logits of this step are not: look at its samples, or lower learning_rate"
    more = f" and {len(names) - NAMED_WEIGHTS} more" if len(names) > NAMED_WEIGHTS else ""
    return (
        f"not finite: {', '.join(names[:NAMED_WEIGHTS])}{more}. Lower learning_rate, or set gradient_clipping"
    )
