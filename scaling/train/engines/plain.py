"""The reference engine: plain torch on one rank, nothing sharded, fused or overlapped.

Every other engine must train as this one does (`scaling drill parity`). No sweep can choose it.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from model_zoo.batch_norm import discard_counted_statistics
from model_zoo.build import weight_decay_groups
from scaling.train.engines.adamw import build_adamw, set_learning_rate, set_steps
from scaling.train.engines.pieces import buffer_pieces, training_device
from scaling.train.engines.protocol import (
    MOMENTS,
    CallsStages,
    EngineSettings,
    Piece,
    PieceKind,
    StepReport,
    UnderAutocast,
)


class PlainEngine(CallsStages):
    """The Engine protocol as a textbook loop; ValueError on more than one rank."""

    def __init__(self, objective: Any, settings: EngineSettings) -> None:
        assert isinstance(objective, nn.Module)
        if dist.is_initialized() and dist.get_world_size() > 1:
            raise ValueError(
                f"the plain engine trains on one rank, not {dist.get_world_size()}: use deepspeed or fsdp."
            )
        self.device = training_device()
        self.objective: Any = objective.to(self.device)
        self.optimizer_steps = 0
        self._settings = settings
        self._module = UnderAutocast(objective, self.device.type, settings.bf16_autocast)
        self._optimizer = build_adamw(*weight_decay_groups(objective), settings, fused=False)

    def backward(self, loss: Tensor) -> None:
        (loss / self._settings.num_micro_batches).backward()  # type: ignore[no-untyped-call]

    def step(self, learning_rate: float) -> StepReport:
        set_learning_rate(self._optimizer, learning_rate)
        trained = list(self._optimizer.state)
        norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        was_skipped = not bool(norm.isfinite())
        if was_skipped:
            discard_counted_statistics(self.objective)
        else:
            if self._settings.gradient_clipping:
                nn.utils.clip_grads_with_norm_(trained, self._settings.gradient_clipping, norm)
            self._optimizer.step()
            self.optimizer_steps += 1
            self.objective.after_step()
        self._optimizer.zero_grad()
        return StepReport(gradient_norm=norm, was_skipped=was_skipped)

    def pieces(self) -> list[Piece]:
        pieces = buffer_pieces(self.objective, is_mine=True)
        for name, parameter in self.objective.named_parameters():
            pieces.append(_whole(name, "weight", parameter))
            if moments := self._optimizer.state.get(parameter):
                pieces += [_whole(name, kind, moments[kind]) for kind in MOMENTS]
        return pieces

    def take_over(self, optimizer_steps: int) -> None:
        self._optimizer.zero_grad()
        discard_counted_statistics(self.objective)
        set_steps(self._optimizer, optimizer_steps)
        self.optimizer_steps = optimizer_steps

    def whole_objective(self) -> Any:
        return self.objective

    def weights(self) -> dict[str, Tensor]:
        # cloned: on a CPU, cpu() is the live tensor
        return {name: value.detach().cpu().clone() for name, value in self.objective.state_dict().items()}

    def close(self) -> None:
        """Nothing outlives it."""


def _whole(name: str, kind: PieceKind, values: Tensor) -> Piece:
    return Piece(
        name=name,
        kind=kind,
        shape=tuple(values.shape),
        start=0,
        values=values.detach().view(-1),
        is_mine=True,
    )
