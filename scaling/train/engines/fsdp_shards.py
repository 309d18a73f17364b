"""This rank's parts of parameters that FSDP2 shards: as plain tensors, as pieces of a checkpoint, and whole again."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from scaling.train.engines.protocol import Piece, PieceKind

SHARD, REPLICATE = "shard", "replicate"


def shard_mesh(device_type: str, shard_ranks: int) -> DeviceMesh:
    """The mesh of all ranks: neighbours share the shards of one model, groups of `shard_ranks` hold replicas."""
    num_ranks = dist.get_world_size()
    assert num_ranks % shard_ranks == 0, (num_ranks, shard_ranks)
    shape = (num_ranks // shard_ranks, shard_ranks)
    if shape[0] == 1:
        return init_device_mesh(device_type, (shard_ranks,), mesh_dim_names=(SHARD,))
    return init_device_mesh(device_type, shape, mesh_dim_names=(REPLICATE, SHARD))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shard:
    """The rows of one parameter that this rank holds."""

    name: str  # in the objective's state_dict
    sharded: nn.Parameter  # FSDP2's, a DTensor, which gets the gradient
    rows: nn.Parameter  # the same memory as a plain tensor, maybe empty: what AdamW steps

    @property
    def start(self) -> int:
        """The number of the first element here, in the whole tensor."""
        shape, mesh = self.sharded.shape, _dtensor(self.sharded).device_mesh
        per_rank = -(-shape[0] // mesh[SHARD].size())  # as torch.chunk cuts
        first = min(per_rank * mesh[SHARD].get_local_rank(), shape[0])
        return first * math.prod(shape[1:])

    def take_gradient(self) -> Tensor | None:
        """The averaged gradient of the rows, now theirs and no longer FSDP2's; None where there was none."""
        gradient, self.sharded.grad = self.sharded.grad, None
        self.rows.grad = None if gradient is None else _dtensor(gradient).to_local()
        return self.rows.grad

    def piece(self, kind: PieceKind, values: Tensor) -> Piece:
        """The piece that is `values`, the weight's rows or what AdamW keeps of them."""
        mesh = _dtensor(self.sharded).device_mesh
        is_replica = REPLICATE in (mesh.mesh_dim_names or ()) and mesh[REPLICATE].get_local_rank() > 0
        return Piece(
            name=self.name,
            kind=kind,
            shape=tuple(self.sharded.shape),
            start=self.start,
            values=values.detach().view(-1),
            is_mine=not is_replica,
        )

    def whole(self, device: torch.device) -> Tensor:
        """The whole tensor on `device`; called by all ranks."""
        ours = _dtensor(self.sharded.detach())
        on_device = DTensor.from_local(
            ours.to_local().to(device),  # offloaded rows cannot take part in a collective of the accelerator
            ours.device_mesh,
            ours.placements,
            run_check=False,
            shape=ours.shape,
            stride=ours.stride(),
        )
        whole = on_device.full_tensor()
        # one rank's is the live tensor
        return whole.clone() if ours.device_mesh[SHARD].size() == 1 else whole


def shards_of(objective: nn.Module) -> list[Shard]:
    """This rank's shards, in the order of the parameters."""
    shards = []
    for name, parameter in objective.named_parameters():
        rows = nn.Parameter(_dtensor(parameter).to_local().detach(), requires_grad=parameter.requires_grad)
        shards.append(Shard(name=name, sharded=parameter, rows=rows))
    return shards


def global_norm(gradients: list[Tensor], mesh: DeviceMesh, device: torch.device) -> Tensor:
    """The 2-norm of the whole gradient on `device`, equal on all ranks; replicas of a gradient count once."""
    norm = nn.utils.get_total_norm(gradients).to(device)
    squared = norm.square()
    dist.all_reduce(squared, group=mesh[SHARD].get_group())
    return squared.sqrt()


def _dtensor(tensor: Tensor) -> DTensor:
    assert isinstance(tensor, DTensor), type(tensor)
    return tensor
