"""What the training loop may ask of an engine, whichever it is."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from model_zoo.targets import BatchShare
from scaling.sweep.sharding import Offload

PieceKind = Literal["weight", "exp_avg", "exp_avg_sq", "buffer"]  # moments by AdamW's names in torch
MOMENTS: tuple[PieceKind, ...] = ("exp_avg", "exp_avg_sq")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """The optimizer's recipe and the placement, as the engine needs them."""

    global_batch: int
    micro_batch: int  # samples per rank and forward
    num_micro_batches: int  # per rank and optimizer step
    zero_stage: int  # 0: nothing is sharded, 1: optimizer states, 2: and gradients, 3: and parameters
    shard_ranks: int  # neighbouring ranks over which states are sharded; the others hold replicas
    offload: Offload
    overlap_communication: bool
    bucket_elements: int  # of a gradient reduction
    compile: bool  # blocks of the towers, by torch.compile
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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A flat part of one tensor of the training state, as this rank holds it.

    Every engine, on any number of ranks, describes its state by such pieces; so a checkpoint is read back whatever
    wrote it. Elements are counted in row-major order of the whole tensor.
    """

    name: str  # of the tensor in the objective's state_dict
    kind: PieceKind
    shape: tuple[int, ...]  # of the whole tensor
    start: int  # of the whole tensor's elements, the first that is here
    values: Tensor  # [n], a view of the live state: reading saves it, writing restores it
    is_mine: bool  # whether this rank writes it; of replicas, one rank's is written


class Engine(Protocol):
    """Forward, backward and step over all ranks; gradients are averaged over ranks and micro-batches."""

    objective: Any  # the trained module (model_zoo.objective.Objective), whose weights may be sharded
    device: torch.device
    optimizer_steps: int  # that AdamW has made

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

    def pieces(self) -> list[Piece]:
        """This rank's pieces of weights, AdamW's moments and buffers; over all ranks, each element is mine once."""
        ...

    def take_over(self, optimizer_steps: int) -> None:
        """Continue from what was written into every one of `pieces()`; called by all ranks."""
        ...

    def whole_objective(self) -> Any:
        """An objective with the present weights, whole, that each rank may run by itself until the next step.

        The trained module itself where nothing of it is sharded; called by all ranks.
        """
        ...

    def weights(self) -> dict[str, Tensor]:
        """The objective's whole state by the names of its state_dict, on rank 0's CPU; called by all ranks.

        Empty on the other ranks.
        """
        ...

    def close(self) -> None:
        """Let go of memory that would outlive the engine; nothing may be asked of it afterwards."""
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


class CallsStages:
    """The forward half of the Engine protocol, for engines whose module is an UnderAutocast or wraps one."""

    _module: Any

    def _call(self, stage: str, *arguments: Any) -> Any:
        """What the objective's `stage` returns."""
        return self._module(stage, *arguments)

    def losses(self, images_BCHW: Tensor, targets: Any, share: BatchShare) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self._call("forward", images_BCHW, targets, share)
        return losses

    def encode(self, images_BCHW: Tensor, targets: Any) -> tuple[Tensor, ...]:
        encoded: tuple[Tensor, ...] = self._call("encode", images_BCHW, targets)
        return encoded

    def losses_of(self, encoded: tuple[Tensor, ...], targets: Any, share: BatchShare) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self._call("losses", encoded, targets, share)
        return losses
