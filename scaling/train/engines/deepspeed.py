"""DeepSpeed ZeRO-1: optimizer state sharded over the ranks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from deepspeed.utils import safe_set_full_fp32_param
from torch import Tensor, nn

from model_zoo.build import weight_decay_groups
from model_zoo.targets import BatchShare
from scaling.train.engines.protocol import EngineSettings, StepReport, UnderAutocast
from scaling.train.engines.repartition import repartition

TAG = "engine"


class DeepSpeedEngine:
    """The Engine protocol on deepspeed.initialize."""

    def __init__(self, objective: Any, settings: EngineSettings) -> None:
        assert isinstance(objective, nn.Module)
        self.objective: Any = objective
        self.device = torch.device(get_accelerator().current_device_name())
        objective.to(self.device)
        module = UnderAutocast(objective, self.device.type, settings.bf16_autocast)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=module, optimizer=_adamw(objective, settings, self.device), config=_configuration(settings)
        )
        self._skipped_steps = 0

    def losses(self, images_BCHW: Tensor, targets: Any, share: BatchShare) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self._engine("forward", images_BCHW, targets, share)
        return losses

    def encode(self, images_BCHW: Tensor, targets: Any) -> tuple[Tensor, ...]:
        encoded: tuple[Tensor, ...] = self._engine("encode", images_BCHW, targets)
        return encoded

    def losses_of(self, encoded: tuple[Tensor, ...], targets: Any, share: BatchShare) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self._engine("losses", encoded, targets, share)
        return losses

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)
        if not self._engine.is_gradient_accumulation_boundary():
            self._engine.step()  # DeepSpeed counts micro-batches in step(); the weights stay as they are

    def step(self, learning_rate: float) -> StepReport:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        for parameter in self.objective.after_step():
            # ZeRO steps a master copy of its own; without this the bound would be undone by the next step
            safe_set_full_fp32_param(parameter, parameter.data)
        was_skipped = self._engine.skipped_steps > self._skipped_steps
        self._skipped_steps = self._engine.skipped_steps
        norm = self._engine.get_global_grad_norm()
        return StepReport(gradient_norm=float("nan") if norm is None else norm, was_skipped=was_skipped)

    def save(self, folder: Path) -> None:
        self._engine.save_checkpoint(str(folder), tag=TAG, save_latest=False)

    def load(self, folder: Path, written_by: int) -> None:
        if written_by == dist.get_world_size():
            self._load(folder)
            return
        recut = folder / f"for-{dist.get_world_size()}-ranks"
        if dist.get_rank() == 0:
            repartition(folder / TAG, recut / TAG, dist.get_world_size())
        dist.barrier()
        self._load(recut)
        dist.barrier()
        if dist.get_rank() == 0:
            shutil.rmtree(recut)

    def _load(self, folder: Path) -> None:
        path, _ = self._engine.load_checkpoint(str(folder), tag=TAG)
        if path is None:
            raise RuntimeError(f"{folder}: DeepSpeed found no checkpoint to load")
        self._skipped_steps = self._engine.skipped_steps

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu() for name, value in self.objective.state_dict().items()}


def _adamw(objective: nn.Module, settings: EngineSettings, device: torch.device) -> torch.optim.AdamW:
    decayed, not_decayed = weight_decay_groups(objective)
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": not_decayed, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=device.type in ("cpu", "cuda"),
    )


def _configuration(settings: EngineSettings) -> dict[str, Any]:
    """DeepSpeed's own configuration; everything it would otherwise choose for us is written out."""
    return {
        "train_batch_size": settings.global_batch,
        "train_micro_batch_size_per_gpu": settings.micro_batch,
        "gradient_accumulation_steps": settings.num_micro_batches,
        "gradient_clipping": settings.gradient_clipping,  # DeepSpeed 0.19.8 clips at 1.0 if nothing is said
        "zero_optimization": {"stage": settings.zero_stage},
        "zero_allow_untested_optimizer": True,  # a torch optimizer
        # Our own autocast (UnderAutocast): DeepSpeed's would reduce the gradients of linear layers in bfloat16.
        "torch_autocast": {"enabled": False},
        "communication_data_type": "fp32",
        "steps_per_print": 2**31 - 1,
        "wall_clock_breakdown": False,
    }
