"""Label statistics of a run: how often each token was a label, and the IDF weights that follow.

They live outside the module: DeepSpeed casts, drops and never synchronises buffers, and a float counter stops at
2^24. Counts are int64 and summed over ranks, so they depend on the samples shown and on nothing else: not on the
world size, the micro-batch or accumulation. A global batch is counted once, before its first forward; the sum over
the ranks is awaited where the loss needs it.
"""

# Shapes.  B samples of this rank's share of one global batch, V vocabulary.

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from model_zoo.targets import LabelledTokens, LabelSets, TokenRows, idf_weights
from scaling.data.batches import Targets
from scaling.train.batch_share import PendingCounts
from scaling.train.collectives import start_sum


class LabelStatistics(Protocol):
    """What is counted over the targets before a step uses them."""

    def observe(self, targets: Targets) -> PendingCounts:
        """Count this rank's share of a global batch; call it once per global batch, however often that is tried."""
        ...

    def label_weights(self) -> Tensor | None:
        """The weights [V] after all that was counted; None where labels have none."""
        ...

    def summary(self) -> dict[str, float]:
        """What there is to log: documents counted, the weights' mean and largest, labels never seen; waits for them."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold; equal on all ranks."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        ...


def build_statistics(
    idf: str, vocabulary_size: int, device: torch.device, frozen: tuple[Tensor, int] | None
) -> LabelStatistics:
    """The statistics of an IDF mode; "frozen" takes the counts [V] and the number of captions of a counting pass."""
    if idf == "online":
        return DocumentFrequencies(vocabulary_size, device)
    if idf == "frozen":
        assert frozen is not None and len(frozen[0]) == vocabulary_size
        return FixedWeights(device, idf_weights(*frozen).to(device))
    return FixedWeights(device, None)


class FixedWeights:
    """Counts the valid rows of each global batch; the labels' weights, if any, stay as they are."""

    def __init__(self, device: torch.device, weights_V: Tensor | None) -> None:
        self._device = device
        self._weights_V = weights_V

    def observe(self, targets: Targets) -> PendingCounts:
        num_valid = targets.valid_B.sum().to(self._device)
        return PendingCounts(start_sum(num_valid), lambda: (num_valid, self._weights_V))

    def label_weights(self) -> Tensor | None:
        return self._weights_V

    def summary(self) -> dict[str, float]:
        return {} if self._weights_V is None else _named_numbers(_summary_of_weights(self._weights_V))

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        assert not state, sorted(state)


class DocumentFrequencies:
    """In how many captions each token was a label, the current batch included, and the IDF weights of that."""

    def __init__(self, vocabulary_size: int, device: torch.device) -> None:
        self._counts_V = torch.zeros(vocabulary_size, dtype=torch.int64, device=device)
        self._num_samples = torch.zeros((), dtype=torch.int64, device=device)
        self._pending: PendingCounts | None = None  # of the last batch, until its sum has been added

    @property
    def counts_V(self) -> Tensor:
        """Captions in which each token was a label, int64."""
        self._settle()
        return self._counts_V

    @property
    def num_samples(self) -> Tensor:
        """Captions counted, int64 scalar."""
        self._settle()
        return self._num_samples

    def observe(self, targets: Targets) -> PendingCounts:
        self._settle()
        labels = _labels(targets)
        delta = torch.cat([labels.counts_V(len(self._counts_V)), labels.valid_B.sum().view(1)])
        self._pending = PendingCounts(start_sum(delta), lambda: self._add(delta))
        return self._pending

    def _add(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        counts_V, num_valid = delta[:-1], delta[-1]
        self._counts_V += counts_V
        self._num_samples += num_valid
        return num_valid, idf_weights(self._counts_V, self._num_samples)

    def _settle(self) -> None:
        """Add the last batch, in case no loss has asked for its sums."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None

    def label_weights(self) -> Tensor:
        return idf_weights(self.counts_V, self.num_samples)

    def summary(self) -> dict[str, float]:
        counts = {
            "idf_documents": self.num_samples,
            "labels_never_seen": (self.counts_V == 0).sum(),
        }
        return _named_numbers(counts | _summary_of_weights(self.label_weights()))

    def state(self) -> dict[str, Tensor]:
        return {"counts_V": self.counts_V.cpu(), "num_samples": self.num_samples.cpu()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.counts_V.copy_(state["counts_V"])
        self.num_samples.copy_(state["num_samples"])


def _summary_of_weights(weights_V: Tensor) -> dict[str, Tensor]:
    return {"idf_weight_mean": weights_V.mean(), "idf_weight_max": weights_V.max()}


def _named_numbers(scalars: dict[str, Tensor]) -> dict[str, float]:
    """Scalars as numbers, read from the device at once; float64 holds whole numbers up to 2^53."""
    return dict(
        zip(scalars, torch.stack([value.double() for value in scalars.values()]).tolist(), strict=True)
    )


def _labels(targets: Targets) -> LabelSets:
    assert not isinstance(targets, TokenRows), "an objective without labels has no document frequencies"
    return targets.labels if isinstance(targets, LabelledTokens) else targets
