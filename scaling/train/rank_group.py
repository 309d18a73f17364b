"""How the ranks of a run communicate outside the training step: decisions of rank 0, failures of any rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

Answer = TypeVar("Answer")


class FailedElsewhere(RuntimeError):
    """Another rank failed at what all ranks do together; its own error says the rest."""


def gather_over_ranks(value: Any) -> list[Any]:
    """The values of all ranks, by rank, on every rank; without a process group the one there is."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RankGroup:
    """The ranks of one run as seen by one of them; every method is called by all ranks together."""

    rank: int
    num_ranks: int
    gather: Callable[[Any], list[Any]] = gather_over_ranks

    def fail_together(self, error: Exception | None) -> None:
        """Return if no rank has an error; else raise this rank's own, or FailedElsewhere naming the first."""
        texts = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        for rank, text in enumerate(texts):
            if text is not None:
                raise FailedElsewhere(f"rank {rank}: {text}")

    def rank_0_decides(self, decide: Callable[[], Answer]) -> Answer:
        """What `decide` returns on rank 0, on every rank; where it raises, all ranks fail."""
        answer: Any = None
        error: Exception | None = None
        if self.rank == 0:
            try:
                answer = decide()
            except Exception as caught:
                error = caught
        self.fail_together(error)
        return self.gather(answer)[0]  # type: ignore[no-any-return]
