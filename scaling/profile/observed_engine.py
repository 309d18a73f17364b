"""An engine that tells a profiler what it is doing: forward, backward, optimizer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from model_zoo.targets import BatchShare
from scaling.profile.machine import wait_for
from scaling.train.engines.protocol import Engine, Piece, StepReport

PHASE = "phase: "  # begins the name of a phase in a trace


@contextlib.contextmanager
def phase(name: str, device: torch.device) -> Iterator[None]:
    """What happens inside is one phase in the profiler's trace; the device has done it at the end."""
    with record_function(PHASE + name):
        yield
        wait_for(device)


class ObservedEngine:
    """The Engine protocol on another engine, each call a phase; `around_forward` is entered for forward passes."""

    def __init__(
        self,
        engine: Engine,
        around_forward: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._engine = engine
        self._around_forward = around_forward
        self.objective = engine.objective
        self.device = engine.device

    @property
    def optimizer_steps(self) -> int:
        """That AdamW has made."""
        return self._engine.optimizer_steps

    @optimizer_steps.setter
    def optimizer_steps(self, number: int) -> None:
        self._engine.optimizer_steps = number

    def losses(self, images_BCHW: Tensor, targets: Any, share: BatchShare) -> dict[str, Tensor]:
        with phase("forward", self.device), self._around_forward():
            return self._engine.losses(images_BCHW, targets, share)

    def encode(self, images_BCHW: Tensor, targets: Any) -> tuple[Tensor, ...]:
        with phase("forward", self.device), self._around_forward():
            return self._engine.encode(images_BCHW, targets)

    def losses_of(self, encoded: tuple[Tensor, ...], targets: Any, share: BatchShare) -> dict[str, Tensor]:
        with phase("forward", self.device), self._around_forward():
            return self._engine.losses_of(encoded, targets, share)

    def backward(self, loss: Tensor) -> None:
        with phase("backward", self.device):
            self._engine.backward(loss)

    def step(self, learning_rate: float) -> StepReport:
        with phase("optimizer", self.device):
            return self._engine.step(learning_rate)

    def pieces(self) -> list[Piece]:
        return self._engine.pieces()

    def take_over(self, optimizer_steps: int) -> None:
        self._engine.take_over(optimizer_steps)

    def whole_objective(self) -> Any:
        return self._engine.whole_objective()

    def weights(self) -> dict[str, Tensor]:
        return self._engine.weights()

    def close(self) -> None:
        self._engine.close()
