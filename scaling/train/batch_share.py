"""Counts of a global batch that a micro-batch's loss needs, summed over the ranks while the towers already run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch.distributed as dist
from torch import Tensor


class PendingCounts:
    """The counts of one global batch, whose all-reduce over the ranks is under way.

    Reading waits for them, once: the all-reduce runs beside the copy of the images to the device and the towers'
    forward, which need none of it.
    """

    def __init__(
        self,
        work: dist.Work | None,  # None: nothing to wait for
        finish: Callable[[], tuple[Tensor, Tensor | None]],  # what `wait` returns; called once
    ) -> None:
        self._work = work
        self._finish = finish
        self._known: tuple[Tensor, Tensor | None] | None = None

    def wait(self) -> tuple[Tensor, Tensor | None]:
        """The valid rows of the global batch and the label weights [V] (None: all alike)."""
        if self._known is None:
            if self._work is not None:
                self._work.wait()
            self._known = self._finish()
        return self._known

    def share(self, num_parts: int) -> PendingShare:
        """The part of one micro-batch where `num_parts` of them, over all ranks, make the global batch."""
        return PendingShare(self, num_parts)


@dataclasses.dataclass(frozen=True, slots=True)
class PendingShare:
    """A BatchShare (model_zoo/targets.py) of counts that may not be there yet."""

    counts: PendingCounts
    num_parts: int

    @property
    def divisor(self) -> Tensor:
        num_valid, _ = self.counts.wait()
        return num_valid.clamp_min(1) / self.num_parts

    @property
    def label_weights_V(self) -> Tensor | None:
        _, weights_V = self.counts.wait()
        return weights_V
