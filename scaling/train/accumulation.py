"""Runs a global batch through an engine in micro-batches, with the gradients of the whole batch whatever their size.

Where a sample's loss depends on that sample alone, gradients of micro-batches add up. Where it depends on the other
samples (the negatives of a contrastive loss, the class-wise term of the two-way loss), all samples are encoded first
and the loss is taken once over all of them; each micro-batch is then encoded again to pass on its gradient. This is
the gradient cache of Gao et al. (arXiv 2101.06983), at the price of one more forward of all micro-batches but the
first.
"""

# Shapes.  B samples of this rank's share of one global batch, C channels, H W pixels, E what an objective encodes.

from __future__ import annotations

import torch
from torch import Tensor

from scaling.data.batches import Batch, Targets
from scaling.data.images.augmentation import Augmentation
from scaling.data.images.device_augmentation import prepare
from scaling.train.batch_share import PendingCounts
from scaling.train.engines.protocol import Engine
from scaling.train.random_state import RandomState

Losses = dict[str, Tensor]


class Accumulation:
    """Forward and backward of global batches in micro-batches of a fixed size."""

    def __init__(
        self, engine: Engine, *, augmentation: Augmentation, micro_batch: int, num_ranks: int
    ) -> None:
        self._engine = engine
        self._augmentation = augmentation
        self._micro_batch = micro_batch
        self._num_ranks = num_ranks

    def forward_backward(self, batch: Batch, targets: Targets, counts: PendingCounts) -> Losses:
        """This rank's share of the global batch's losses, detached; the engine then holds the gradients.

        `targets`: the batch's targets, on the device; micro-batches are cut from those on the host, where reading the
        offsets waits for nothing.  `counts`: what the label statistics counted in them.
        """
        if len(batch) > self._micro_batch and self._engine.objective.couples_samples:
            return self._through_cached_features(batch, targets, counts)
        return self._sum_of_micro_batches(batch, targets, counts)

    def _sum_of_micro_batches(self, batch: Batch, targets: Targets, counts: PendingCounts) -> Losses:
        micro_batches = self._micro_batches(batch)
        num_micro_batches = len(micro_batches)
        share = counts.share(self._num_ranks * num_micro_batches)
        total: Losses = {}
        for rows in micro_batches:
            part = targets if num_micro_batches == 1 else self._targets(batch, rows)
            losses = self._engine.losses(self._images(batch, rows), part, share)
            self._engine.backward(losses["loss"])
            for name, value in losses.items():
                total[name] = total.get(name, 0.0) + value.detach() / num_micro_batches
        return total

    def _through_cached_features(self, batch: Batch, targets: Targets, counts: PendingCounts) -> Losses:
        """The first micro-batch keeps its graph, so that the loss's own parameters get their gradient with it."""
        engine = self._engine
        first, *others = self._micro_batches(batch)
        num_micro_batches = 1 + len(others)
        states, cached = [], []
        for rows in others:
            states.append(RandomState.of(engine.device))
            with torch.no_grad():
                encoded = self._encode(batch, rows)
            cached.append(tuple(part_BE.detach().requires_grad_() for part_BE in encoded))
        whole = tuple(map(torch.cat, zip(self._encode(batch, first), *cached, strict=True)))
        losses = engine.losses_of(whole, targets, counts.share(self._num_ranks))
        engine.backward(losses["loss"] * num_micro_batches)  # which the engine divides by again
        for rows, state, features in zip(others, states, cached, strict=True):
            with state.replayed():
                encoded = self._encode(batch, rows)
            engine.backward(num_micro_batches * _pull_back(encoded, features))
        return {name: value.detach() for name, value in losses.items()}

    def _encode(self, batch: Batch, rows: slice) -> tuple[Tensor, ...]:
        return self._engine.encode(self._images(batch, rows), self._targets(batch, rows))

    def _targets(self, batch: Batch, rows: slice) -> Targets:
        return batch.targets.rows(rows.start, rows.stop).to(self._engine.device)

    def _images(self, batch: Batch, rows: slice) -> Tensor:
        return prepare(batch, rows, self._augmentation, self._engine.device)

    def _micro_batches(self, batch: Batch) -> list[slice]:
        size = self._micro_batch
        return [slice(start, start + size) for start in range(0, len(batch), size)]


def _pull_back(encoded: tuple[Tensor, ...], cached: tuple[Tensor, ...]) -> Tensor:
    """A scalar whose gradient through `encoded` is the gradient of the loss over the cached features."""
    terms = []
    for part_BE, leaf_BE in zip(encoded, cached, strict=True):
        assert leaf_BE.grad is not None
        terms.append((part_BE * leaf_BE.grad).sum())
    return torch.stack(terms).sum()
