"""The random state of a rank: seeded by run and rank, kept in checkpoints, replayed for a second forward."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
import xxhash
from torch import Tensor


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class RandomState:
    """The state of torch's generators: the CPU's and, on an accelerator, that of its current device."""

    cpu: Tensor
    device: Tensor | None

    @classmethod
    def of(cls, device: torch.device) -> RandomState:
        """The state as it is now."""
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)

    def parts(self) -> tuple[Tensor, Tensor | None]:
        """What a checkpoint holds of it."""
        return self.cpu, self.device

    def restore(self) -> None:
        """Continue from this state."""
        torch.set_rng_state(self.cpu)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device)

    @contextlib.contextmanager
    def replayed(self) -> Iterator[None]:
        """Draw from this state again, and continue afterwards as if nothing had been drawn."""
        now = RandomState(torch.get_rng_state(), None if self.device is None else torch.cuda.get_rng_state())
        self.restore()
        try:
            yield
        finally:
            now.restore()


def seed_rank(seed: int, rank: int, step: int = 0) -> None:
    """Seed this rank from a step on: ranks drop different patches, and draws follow from the run's seed."""
    torch.manual_seed(xxhash.xxh64_intdigest(f"{seed}/{rank}/{step}") % 2**63)
