"""Label statistics of a run: how often each token was a label, and the IDF weights that follow.

They live outside the module: DeepSpeed casts, drops and never synchronises buffers, and a float counter stops at
2^24. Counts are int64 and summed over ranks, so they depend on the samples shown and on nothing else: not on the
world size, the micro-batch or accumulation. A global batch is counted once, before its first forward.
"""

# Shapes.  B samples of this rank's share of one global batch, V vocabulary.

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from model_zoo.targets import LabelSets, idf_weights
from scaling.data.batches import Targets
from scaling.train.collectives import reduce_in_place


class LabelStatistics(Protocol):
    """What is counted over the targets before a step uses them."""

    def observe(self, targets: Targets) -> tuple[Targets, Tensor]:
        """The targets as the loss wants them, and the valid rows of the global batch (scalar, at least 1)."""
        ...

    def label_weights(self) -> Tensor | None:
        """The weights [V] that the next batch's labels get; None where labels have none."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold; equal on all ranks."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        ...


def build_statistics(
    idf: str, vocabulary_size: int, label_kind: str, device: torch.device
) -> LabelStatistics:
    """The statistics that a point needs: document frequencies for "online", else only the count of valid rows."""
    if label_kind == "labels" and idf == "online":
        return DocumentFrequencies(vocabulary_size, device)
    return ValidRows(device)


class ValidRows:
    """Counts the valid rows of each global batch, and weighs nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def observe(self, targets: Targets) -> tuple[Targets, Tensor]:
        num_valid = targets.valid_B.sum().to(self._device)
        reduce_in_place(num_valid)
        return _weigh(targets, None), num_valid.clamp_min(1)

    def label_weights(self) -> Tensor | None:
        return None

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        assert not state, sorted(state)


class DocumentFrequencies:
    """In how many captions each token was a label, the current batch included, and the IDF weights of that."""

    def __init__(self, vocabulary_size: int, device: torch.device) -> None:
        self.counts_V = torch.zeros(vocabulary_size, dtype=torch.int64, device=device)
        self.num_samples = torch.zeros((), dtype=torch.int64, device=device)

    def observe(self, targets: Targets) -> tuple[Targets, Tensor]:
        assert isinstance(targets, LabelSets)
        vocabulary_size = len(self.counts_V)
        ids_of_valid = targets.ids_N[targets.valid_B[targets.samples_N()]]
        delta = torch.bincount(ids_of_valid, minlength=vocabulary_size + 1)
        delta[vocabulary_size] = targets.valid_B.sum()
        reduce_in_place(delta)
        self.counts_V += delta[:vocabulary_size]
        self.num_samples += delta[vocabulary_size]
        return _weigh(targets, self.label_weights()), delta[vocabulary_size].clamp_min(1)

    def label_weights(self) -> Tensor:
        return idf_weights(self.counts_V, self.num_samples)

    def state(self) -> dict[str, Tensor]:
        return {"counts_V": self.counts_V.cpu(), "num_samples": self.num_samples.cpu()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.counts_V.copy_(state["counts_V"])
        self.num_samples.copy_(state["num_samples"])


def _weigh(targets: Targets, weights_V: Tensor | None) -> Any:
    return targets.with_probabilities(weights_V) if isinstance(targets, LabelSets) else targets
