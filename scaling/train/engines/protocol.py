"""What the training loop may ask of an engine, whichever it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from model_zoo.targets import BatchShare


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """The optimizer's recipe and the placement, as the engine needs them."""

    global_batch: int
    micro_batch: int  # samples per rank and forward
    num_micro_batches: int  # per rank and optimizer step
    zero_stage: int
    learning_rate: float
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    gradient_clipping: float  # largest norm; 0.0 = none
    bf16_autocast: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """What an optimizer step did."""

    gradient_norm: Tensor | float  # of the averaged gradient, before clipping; read only when logged
    was_skipped: bool  # the engine found a non-finite gradient and left the weights alone


class Engine(Protocol):
    """Forward, backward and step over all ranks; gradients are averaged over ranks and micro-batches."""

    objective: Any  # the trained module, for evaluation (model_zoo.objective.Objective)
    device: torch.device

    def losses(self, images_BCHW: Tensor, targets: Any, share: BatchShare) -> dict[str, Tensor]:
        """The objective's losses for one micro-batch, under the point's precision."""
        ...

    def encode(self, images_BCHW: Tensor, targets: Any) -> tuple[Tensor, ...]:
        """The first half of `losses`: what the objective makes of each sample by itself."""
        ...

    def losses_of(self, encoded: tuple[Tensor, ...], targets: Any, share: BatchShare) -> dict[str, Tensor]:
        """The second half of `losses`, for samples encoded before."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of loss / micro-batches per step; call it once per micro-batch."""
        ...

    def step(self, learning_rate: float) -> StepReport:
        """Update the weights; call after the last micro-batch's backward."""
        ...

    def save(self, folder: Path) -> None:
        """Write this engine's state below `folder`; called by all ranks."""
        ...

    def load(self, folder: Path, written_by: int) -> None:
        """Restore what `save` wrote there on `written_by` ranks, however many there are now; called by all ranks."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """The objective's whole state by the names of its state_dict, on the CPU; called by all ranks."""
        ...


class UnderAutocast(nn.Module):
    """An objective whose forward runs in bfloat16 where that is safe; weights and reductions stay float32."""

    def __init__(self, objective: nn.Module, device_type: str, enabled: bool) -> None:
        super().__init__()
        self.objective = objective
        self._device_type = device_type
        self._enabled = enabled

    def forward(self, stage: str, *arguments: Any) -> Any:
        """The objective's `stage` (forward, encode or losses): engines see every use of the weights through here."""
        with torch.autocast(self._device_type, dtype=torch.bfloat16, enabled=self._enabled):
            return getattr(self.objective, stage)(*arguments)
