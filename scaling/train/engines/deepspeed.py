"""DeepSpeed ZeRO: optimizer states, gradients and weights sharded over all ranks, as far as the stage says."""

from __future__ import annotations

from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from torch import Tensor, nn

from model_zoo.batch_norm import discard_counted_statistics
from model_zoo.blocks import compile_blocks
from scaling.train.engines.adamw import set_learning_rate, set_steps
from scaling.train.engines.deepspeed_adamw import adamw, check_shapes, trained_elements
from scaling.train.engines.deepspeed_configuration import check_compile, configuration, reduces_in_step
from scaling.train.engines.deepspeed_fragments import Fragment
from scaling.train.engines.deepspeed_layouts import layout_of
from scaling.train.engines.pieces import buffer_pieces
from scaling.train.engines.protocol import CallsStages, EngineSettings, Piece, StepReport, UnderAutocast
from scaling.train.engines.whole_copy import WholeCopy


class DeepSpeedEngine(CallsStages):
    """The Engine protocol on deepspeed.initialize.

    The objective is built whole and sharded afterwards: DeepSpeed's zero.Init would lose timm's initial weights.
    """

    def __init__(self, objective: Any, settings: EngineSettings) -> None:
        assert isinstance(objective, nn.Module)
        check_shapes(objective)
        check_compile(settings)
        self.objective: Any = objective
        self.device = torch.device(get_accelerator().current_device_name())
        self.optimizer_steps = 0
        self._settings = settings
        self._num_backwards = 0  # since the last step
        self._copy = WholeCopy(objective) if settings.zero_stage == 3 else None
        objective.to(self.device)
        if settings.compile:
            compile_blocks(objective)
        couples_samples = bool(self.objective.couples_samples)
        self._reduces_in_step = reduces_in_step(settings, couples_samples)
        self._adamw = adamw(objective, settings, self.device)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=UnderAutocast(objective, self.device.type, settings.bf16_autocast),
            optimizer=self._adamw,
            config=configuration(
                settings,
                device=self.device,
                num_trained=trained_elements(objective),
                couples_samples=couples_samples,
            ),
        )
        self._layout = layout_of(settings.zero_stage, objective, self._optimizer)

    def _call(self, stage: str, *arguments: Any) -> Any:
        self._clear_copy()
        return self._engine(stage, *arguments)

    def backward(self, loss: Tensor) -> None:
        self._num_backwards += 1
        if not self._reduces_in_step:
            is_last = self._num_backwards == self._settings.num_micro_batches
            self._engine.set_gradient_accumulation_boundary(is_last)
        self._engine.backward(loss)

    def step(self, learning_rate: float) -> StepReport:
        assert self._num_backwards == self._settings.num_micro_batches, self._num_backwards
        self._num_backwards = 0
        self._clear_copy()
        set_learning_rate(self._adamw, learning_rate)
        self._engine.step()
        was_skipped = not self._engine.was_step_applied()
        if was_skipped:
            discard_counted_statistics(self.objective)
        else:
            self.optimizer_steps += 1
            self._layout.adopt(self.objective.after_step())
        return StepReport(gradient_norm=self._optimizer._global_grad_norm, was_skipped=was_skipped)

    def pieces(self) -> list[Piece]:
        pieces = buffer_pieces(self.objective, is_mine=dist.get_rank() == 0)
        return pieces + [piece for fragment in self._layout.fragments for piece in _pieces_of(fragment)]

    def take_over(self, optimizer_steps: int) -> None:
        self._clear_copy()
        self._num_backwards = 0
        self._layout.drop_gradients()
        discard_counted_statistics(self.objective)
        self._layout.publish()
        set_steps(self._adamw, optimizer_steps)
        self.optimizer_steps = optimizer_steps

    def whole_objective(self) -> Any:
        if self._copy is None:
            return self.objective
        return self._copy.fill(self.objective, self._layout.whole)

    def weights(self) -> dict[str, Tensor]:
        parameters = dict(self.objective.named_parameters())
        weights = {}
        for name, value in self.objective.state_dict().items():
            whole = self._layout.whole(parameters[name]) if name in parameters else value
            if dist.get_rank() == 0:
                weights[name] = whole.detach().to("cpu", copy=True)
        return weights

    def close(self) -> None:
        self._clear_copy()
        self._engine.destroy()  # DeepSpeed 0.19.8 keeps every engine until told otherwise

    def _clear_copy(self) -> None:
        if self._copy is not None:
            self._copy.clear()


def _pieces_of(fragment: Fragment) -> list[Piece]:
    return [
        Piece(
            name=fragment.name,
            kind=kind,
            shape=fragment.shape,
            start=fragment.start,
            values=values,
            is_mine=fragment.is_mine,
        )
        for kind, values in {"weight": fragment.weight, **fragment.moments}.items()
    ]
