"""Samples that take no part in the loss: counted by reason, and too many of them end the run."""

from __future__ import annotations

from collections import Counter

import torch

from scaling.data.batches import Batch
from scaling.train.collectives import sum_counts_over_ranks, sum_over_ranks
from scaling.train.progress import Progress

MOST_BAD_AT_THE_START = 16  # images; a share of the first few samples says nothing


class TooManyBadSamples(RuntimeError):
    """More of the data is damaged than the sweep allows."""


class MaskedSamples:
    """Counts this rank's masked samples since they were last added up over the ranks."""

    def __init__(self) -> None:
        self._undecodable = self._empty = 0
        self._rejects: Counter[str] = Counter()

    def note(self, batch: Batch) -> None:
        """Count those of a batch that was trained on."""
        self._undecodable += batch.num_undecodable
        self._empty += batch.num_empty_captions
        self._rejects.update(batch.rejects)

    def add_to(self, progress: Progress, device: torch.device) -> None:
        """Add what all ranks counted; called by all of them together."""
        progress.undecodable_images += sum_over_ranks(self._undecodable, device)
        progress.empty_captions += sum_over_ranks(self._empty, device)
        progress.rejects = dict(Counter(progress.rejects) + sum_counts_over_ranks(self._rejects))
        self._undecodable, self._empty, self._rejects = 0, 0, Counter()


def check_bad_samples(progress: Progress, samples_seen: int, limit: float) -> None:
    """Raise TooManyBadSamples if a larger share than `limit` did not decode."""
    num_bad = progress.undecodable_images
    if num_bad > max(limit * samples_seen, MOST_BAD_AT_THE_START):
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(progress.rejects.items()))
        raise TooManyBadSamples(
            f"{num_bad:,} of {samples_seen:,} samples had no image that decodes ({reasons}), more than "
            f"bad_samples_limit ({limit:g}) allows: run `scaling data check`, or raise the limit"
        )
