"""PyTorch's FSDP2: parameters, gradients and optimizer states sharded over ranks, a block of a tower at a time."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.utils._pytree import tree_map

from model_zoo.batch_norm import discard_counted_statistics
from model_zoo.blocks import blocks_of
from model_zoo.build import weight_decay_groups
from scaling.train.engines.adamw import build_adamw, set_learning_rate, set_steps
from scaling.train.engines.fsdp_shards import global_norm, shard_mesh, shards_of
from scaling.train.engines.pieces import buffer_pieces, named_buffers, training_device
from scaling.train.engines.protocol import (
    MOMENTS,
    CallsStages,
    EngineSettings,
    Piece,
    StepReport,
    UnderAutocast,
)
from scaling.train.engines.whole_copy import WholeCopy


class FsdpEngine(CallsStages):
    """The Engine protocol on fully_shard.

    Precision is UnderAutocast's, as with DeepSpeed: FSDP2's own MixedPrecisionPolicy would cast every weight, those of
    norms and the logit scale too, which autocast leaves in float32. Weights and gradients travel in float32.
    Gradients are reduced once per step; until its last micro-batch they are kept whole, 4 bytes per parameter.
    FSDP2 always overlaps communication with computation, and reduces block by block.
    """

    def __init__(self, objective: Any, settings: EngineSettings) -> None:
        assert isinstance(objective, nn.Module)
        self.device = training_device()
        self.objective: Any = objective
        self.optimizer_steps = 0
        self._settings = settings
        self._num_backwards = 0  # since the last step
        self._copy = WholeCopy(objective)
        self._mesh = shard_mesh(self.device.type, settings.shard_ranks)
        self._module: Any = _Root(objective, self.device.type, settings.bf16_autocast)
        _shard_module(self._module, settings, self._mesh)
        self._shards = shards_of(objective)
        rows = {shard.sharded: shard.rows for shard in self._shards}
        decayed, others = ([rows[one] for one in group] for group in weight_decay_groups(objective))
        self._optimizer = build_adamw(decayed, others, settings, fused=True)

    def backward(self, loss: Tensor) -> None:
        self._num_backwards += 1
        self._module.set_requires_gradient_sync(self._num_backwards == self._settings.num_micro_batches)
        (loss / self._settings.num_micro_batches).backward()  # type: ignore[no-untyped-call]

    def step(self, learning_rate: float) -> StepReport:
        assert self._num_backwards == self._settings.num_micro_batches, self._num_backwards
        self._num_backwards = 0
        self._copy.clear()
        gradients = [gradient for shard in self._shards if (gradient := shard.take_gradient()) is not None]
        norm = global_norm(gradients, self._mesh, self.device)
        was_skipped = not bool(norm.isfinite())
        if was_skipped:
            discard_counted_statistics(self.objective)
        else:
            if self._settings.gradient_clipping:
                rows = [shard.rows for shard in self._shards]
                nn.utils.clip_grads_with_norm_(rows, self._settings.gradient_clipping, norm)
            set_learning_rate(self._optimizer, learning_rate)
            self._optimizer.step()
            self.optimizer_steps += 1
            self.objective.after_step()  # bounds the shards themselves: there is no other copy of the weights
        self._optimizer.zero_grad()
        return StepReport(gradient_norm=norm, was_skipped=was_skipped)

    def pieces(self) -> list[Piece]:
        pieces = buffer_pieces(self.objective, is_mine=dist.get_rank() == 0)
        for shard in self._shards:
            pieces.append(shard.piece("weight", shard.rows))
            if moments := self._optimizer.state.get(shard.rows):
                pieces += [shard.piece(kind, moments[kind]) for kind in MOMENTS]
        return pieces

    def take_over(self, optimizer_steps: int) -> None:
        self._reshard()
        self._copy.clear()
        assert (
            not self._num_backwards
        ), "between steps only: FSDP2 keeps whole gradients until the last micro-batch"
        discard_counted_statistics(self.objective)
        set_steps(self._optimizer, optimizer_steps)
        self.optimizer_steps = optimizer_steps

    def whole_objective(self) -> Any:
        self._reshard()
        shards = {shard.sharded: shard for shard in self._shards}
        return self._copy.fill(self.objective, lambda sharded: shards[sharded].whole(self.device))

    def weights(self) -> dict[str, Tensor]:
        is_writer = dist.get_rank() == 0
        found = {}
        for shard in self._shards:
            whole = shard.whole(self.device)  # one at a time: the whole model need not fit on the device
            if is_writer:
                found[shard.name] = whole.cpu()
        if not is_writer:
            return {}
        found |= {name: value.cpu().clone() for name, value in named_buffers(self.objective).items()}
        return {name: found[name] for name in self.objective.state_dict()}

    def close(self) -> None:
        self._copy.clear()

    def _reshard(self) -> None:
        """Give up whole weights that a forward without a backward has left: they may be old ones."""
        for part in self._module.modules():
            if isinstance(part, FSDPModule):
                part.reshard()


class _Root(UnderAutocast):
    """The outermost unit."""

    def forward(self, stage: str, *arguments: Any) -> Any:
        return tree_map(_own, super().forward(stage, *arguments))


def _own(value: Tensor) -> Tensor:
    """The value in memory of its own: what is only logged may be a view of a gathered weight, which is freed soon."""
    return value.clone() if value._is_view() or not value.requires_grad else value


def _shard_module(root: _Root, settings: EngineSettings, mesh: DeviceMesh) -> None:
    """Shard each block, the head, whose gradient is ready first, and what is left, as units of communication."""
    pins_memory = mesh.device_type == "cuda"
    policy = CPUOffloadPolicy(pin_memory=pins_memory) if settings.offload == "all" else OffloadPolicy()
    head = getattr(root.objective, "head", None)
    for unit in (*blocks_of(root.objective), *([] if head is None else [head])):
        fully_shard(unit, mesh=mesh, reshard_after_forward=settings.zero_stage == 3, offload_policy=policy)
    # kept to the backward pass in every stage: it starts with what forward ended with
    fully_shard(root, mesh=mesh, reshard_after_forward=False, offload_policy=policy)
