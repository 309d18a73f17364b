"""What an objective is asked to predict: the label sets (superclass) or tokens (clip) of captions."""

# Shapes.  B samples, L caption tokens, V vocabulary, N labels of all samples together.

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class LabelSets:
    """The set of token ids in each caption, ragged: sample b owns `ids_N[offsets[b]:offsets[b + 1]]`."""

    ids_N: Tensor  # int64; unique within a sample
    offsets: Tensor  # int64 [B + 1], from 0 to N
    valid_B: Tensor  # bool; False: the image did not decode or the caption is empty, left out of the loss
    probabilities_N: Tensor | None = None  # sums to 1 over each sample's labels; None: uniform

    def __post_init__(self) -> None:
        assert len(self.offsets) == len(self.valid_B) + 1, (self.offsets.shape, self.valid_B.shape)
        assert self.probabilities_N is None or len(self.probabilities_N) == len(self.ids_N)

    def __len__(self) -> int:
        return len(self.valid_B)

    def rows(self, start: int, stop: int) -> LabelSets:
        """Samples start to stop.  Cut before `to`: reading the offsets waits for an accelerator."""
        first, last = int(self.offsets[start]), int(self.offsets[min(stop, len(self))])
        return LabelSets(
            ids_N=self.ids_N[first:last],
            offsets=self.offsets[start : stop + 1] - first,
            valid_B=self.valid_B[start:stop],
            probabilities_N=None if self.probabilities_N is None else self.probabilities_N[first:last],
        )

    def to(self, device: torch.device | str) -> LabelSets:
        """The same labels on `device`."""
        return LabelSets(
            ids_N=self.ids_N.to(device, non_blocking=True),
            offsets=self.offsets.to(device, non_blocking=True),
            valid_B=self.valid_B.to(device, non_blocking=True),
            probabilities_N=(
                None if self.probabilities_N is None else self.probabilities_N.to(device, non_blocking=True)
            ),
        )

    def samples_N(self) -> Tensor:
        """The sample each label belongs to, int64 [N]."""
        counts_B = self.offsets.diff()
        samples_B = torch.arange(len(self), device=counts_B.device)
        # output_size: known here, so that an accelerator need not be waited for
        return torch.repeat_interleave(samples_B, counts_B, output_size=len(self.ids_N))

    def counts_V(self, vocabulary_size: int) -> Tensor:
        """In how many valid samples each id is a label, int64 [V]; ids outside the vocabulary are not counted.

        The head reports such ids.  Nothing here waits for an accelerator, as bincount or indexing by a mask would.
        """
        known_N = known_ids(self.ids_N, vocabulary_size)
        counted_N = (self.valid_B[self.samples_N()] & known_N).long()
        return counted_N.new_zeros(vocabulary_size).index_add_(
            0, torch.where(known_N, self.ids_N, 0), counted_N
        )

    def with_probabilities(self, weights_V: Tensor | None) -> LabelSets:
        """The same labels with target probabilities: the weight of each id, normalised to sum 1 per sample.

        Without weights, uniform over a sample's labels.  A sample whose labels all weigh 0 gets no target
        (and so no loss), as with the reference's `F.normalize(p=1)`, whose epsilon is the 1e-12 here.
        An id outside the vocabulary weighs 0: the head reports it.
        """
        samples_N = self.samples_N()
        if weights_V is None:
            weights_N = torch.ones(len(self.ids_N), device=self.ids_N.device)
        else:
            known_N = known_ids(self.ids_N, len(weights_V))
            weights_N = torch.where(known_N, weights_V[torch.where(known_N, self.ids_N, 0)], 0.0)
        sums_B = weights_N.new_zeros(len(self)).index_add_(0, samples_N, weights_N)
        return dataclasses.replace(self, probabilities_N=weights_N / sums_B.clamp_min(1e-12)[samples_N])


def known_ids(ids_N: Tensor, vocabulary_size: int) -> Tensor:
    """Whether each id is one of the vocabulary, bool [N]."""
    return (ids_N >= 0) & (ids_N < vocabulary_size)


def idf_weights(counts_V: Tensor, num_samples: Tensor | int) -> Tensor:
    """log((N + 1) / (df + 1)), fp32 [V], from document frequencies `counts_V` among `num_samples` captions.

    SuperClass (arXiv 2411.03313) section 3.2 prints log(N / (1 + df)), which can be negative; its reference
    code (x-cls/superclass loss.py) computes the formula used here.
    """
    num_samples = torch.as_tensor(num_samples, device=counts_V.device)
    return torch.log((num_samples.double() + 1) / (counts_V.double() + 1)).float()


@dataclass(frozen=True, slots=True, eq=False)
class TokenRows:
    """The tokens of each caption: start, text, end (the highest id of the vocabulary), then padding."""

    tokens_BL: Tensor  # int64
    valid_B: Tensor  # bool; False: the image did not decode or the caption is empty, left out of the loss

    def __post_init__(self) -> None:
        assert len(self.tokens_BL) == len(self.valid_B), (self.tokens_BL.shape, self.valid_B.shape)

    def __len__(self) -> int:
        return len(self.valid_B)

    def rows(self, start: int, stop: int) -> TokenRows:
        """Samples start to stop."""
        return TokenRows(self.tokens_BL[start:stop], self.valid_B[start:stop])

    def to(self, device: torch.device | str) -> TokenRows:
        """The same tokens on `device`."""
        return TokenRows(
            self.tokens_BL.to(device, non_blocking=True), self.valid_B.to(device, non_blocking=True)
        )


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTokens:
    """Both views of each caption, for an objective that classifies and contrasts."""

    labels: LabelSets
    tokens: TokenRows

    def __post_init__(self) -> None:
        assert len(self.labels) == len(self.tokens), (len(self.labels), len(self.tokens))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def valid_B(self) -> Tensor:
        """Whether a sample takes part; the same in both views."""
        return self.labels.valid_B

    def rows(self, start: int, stop: int) -> LabelledTokens:
        """Samples start to stop."""
        return LabelledTokens(self.labels.rows(start, stop), self.tokens.rows(start, stop))

    def to(self, device: torch.device | str) -> LabelledTokens:
        """The same targets on `device`."""
        return LabelledTokens(self.labels.to(device), self.tokens.to(device))


class BatchShare(Protocol):
    """What the loss of a micro-batch depends on in its global batch; reading it may wait for the other ranks."""

    @property
    def divisor(self) -> Tensor | float:
        """Valid rows of the global batch / (ranks x micro-batches), above 0.

        With it the mean over ranks and micro-batches, which is what engines take, of each one's sum over valid
        rows / divisor is the exact mean over the valid rows of the global batch.
        """
        ...

    @property
    def label_weights_V(self) -> Tensor | None:
        """The weight of every label in the targets; None: all alike."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class KnownShare:
    """A `BatchShare` of given numbers."""

    divisor: Tensor | float
    label_weights_V: Tensor | None = None
