"""Where DeepSpeed keeps the training state, by ZeRO stage.

The one place that knows the private fields of its optimizers, as they are in deepspeed 0.19.8.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scaling.train.engines.deepspeed_fragments import Fragment, Moments, add_moments, fragments_of, replica


class Layout(Protocol):
    """The state of one ZeRO stage on this rank."""

    fragments: list[Fragment]

    def publish(self) -> None:
        """Make what was written into the fragments the weights that forward reads; called by all ranks."""
        ...

    def adopt(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make whole parameters that were changed in place what AdamW steps from."""
        ...

    def drop_gradients(self) -> None:
        """Forget what was accumulated since the last step."""
        ...

    def whole(self, parameter: nn.Parameter) -> Tensor:
        """The parameter's present values, whole and on its device; called by all ranks."""
        ...


def layout_of(zero_stage: int, objective: nn.Module, optimizer: Any) -> Layout:
    """The layout of what deepspeed.initialize made of the objective and returned as its optimizer.

    AdamW's moments are zeros from here on, so that they can be read and restored before the first step.
    """
    named = dict(objective.named_parameters())
    if zero_stage == 3:
        return ShardedParameters(named, optimizer)
    return ShardedStates(named, optimizer) if zero_stage else Replicas(named, optimizer)


class Replicas:
    """Stage 0: every rank has everything."""

    def __init__(self, named: dict[str, nn.Parameter], optimizer: torch.optim.AdamW) -> None:
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        moments = {id(p): add_moments(optimizer, p) for p in named.values() if id(p) in trained}
        self._named = named
        self.fragments = [replica(name, p, moments.get(id(p), {})) for name, p in named.items()]

    def publish(self) -> None:
        """Nothing: AdamW steps what forward reads."""

    def adopt(self, parameters: Iterable[nn.Parameter]) -> None:
        """Nothing, likewise."""

    def drop_gradients(self) -> None:
        for parameter in self._named.values():
            parameter.grad = None

    def whole(self, parameter: nn.Parameter) -> Tensor:
        return parameter.detach()


class ShardedStates:
    """Stages 1 and 2: whole weights on every rank, and a master copy, with its moments, of the part it steps."""

    def __init__(self, named: dict[str, nn.Parameter], optimizer: Any) -> None:
        self._optimizer = optimizer
        names = {id(parameter): name for name, parameter in named.items()}
        self.fragments = [replica(name, p, {}) for name, p in named.items() if not p.requires_grad]
        groups = zip(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups, strict=True)
        for parameters, flat in groups:
            moments = add_moments(optimizer.optimizer, flat)
            here = [parameter for parameter in parameters if parameter._hp_mapping is not None]
            self.fragments += [self._fragment(names[id(p)], p, flat.detach(), moments) for p in here]

    @staticmethod
    def _fragment(name: str, parameter: Any, flat: Tensor, moments: Moments) -> Fragment:
        at, length = (
            parameter._hp_mapping.hp_fragment_address.start,
            parameter._hp_mapping.hp_fragment_address.numel,
        )
        return Fragment(
            name=name,
            parameter=parameter,
            shape=tuple(parameter.shape),
            start=parameter._hp_mapping.lp_fragment_address.start,
            weight=flat.narrow(0, at, length),
            moments={kind: values.narrow(0, at, length) for kind, values in moments.items()},
            is_mine=True,
        )

    def publish(self) -> None:
        self._optimizer.update_lp_params()

    def adopt(self, parameters: Iterable[nn.Parameter]) -> None:
        for fragment in fragments_of(self.fragments, parameters):
            fragment.weight.copy_(fragment.part_of(fragment.parameter))

    def drop_gradients(self) -> None:
        optimizer = self._optimizer
        optimizer.zero_grad(set_to_none=True)
        for gradients in (optimizer.averaged_gradients, optimizer.all_grad_tensors):
            gradients.update(dict.fromkeys(gradients))
        if optimizer.cpu_offload:
            optimizer.reset_cpu_buffers()
        optimizer.micro_step_id = -1  # INITIAL_MICRO_STEP_ID: the next gradient is the first

    def whole(self, parameter: nn.Parameter) -> Tensor:
        return parameter.detach()


class ShardedParameters:
    """Stage 3: of every parameter, an equal part on every rank, the last one padded."""

    def __init__(self, named: dict[str, nn.Parameter], optimizer: Any) -> None:
        self._optimizer = optimizer
        flats = optimizer.fp32_partitioned_groups_flat
        moments = [add_moments(optimizer.optimizer, flat) for flat in flats]
        fragments = [self._fragment(name, p, flats, moments) for name, p in named.items()]
        self.fragments = [fragment for fragment in fragments if len(fragment.weight)]

    def _fragment(self, name: str, parameter: Any, flats: list[Tensor], moments: list[Moments]) -> Fragment:
        start = min(dist.get_rank() * parameter.ds_tensor.ds_numel, parameter.ds_numel)
        length = min(parameter.ds_tensor.ds_numel, parameter.ds_numel - start)
        weight, own_moments = parameter.ds_tensor.detach().narrow(0, 0, length), {}
        if parameter.requires_grad:
            group, at, _ = self._optimizer.grad_position[self._optimizer.get_param_id(parameter)]
            weight = flats[group].detach().narrow(0, at, length)
            own_moments = {kind: values.narrow(0, at, length) for kind, values in moments[group].items()}
        return Fragment(
            name=name,
            parameter=parameter,
            shape=tuple(parameter.ds_shape),
            start=start,
            weight=weight,
            moments=own_moments,
            is_mine=True,
        )

    def publish(self) -> None:
        for group in range(len(self._optimizer.fp16_groups)):
            self._optimizer._reassign_or_swap_out_partitioned_parameters(group)
        self._optimizer._partition_all_parameters()  # what is gathered now is old
        if persistent := self._optimizer.persistent_parameters:
            persistent[0].all_gather(persistent)

    def adopt(self, parameters: Iterable[Any]) -> None:
        changed = list(parameters)
        assert all(p.numel() == p.ds_numel for p in changed), "a parameter was changed while it was sharded"
        for fragment in fragments_of(self.fragments, changed):
            parameter: Any = fragment.parameter
            part = fragment.part_of(parameter)
            fragment.weight.copy_(part)
            parameter.ds_tensor.detach()[: len(part)].copy_(part)

    def drop_gradients(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)  # and the next one overwrites its buffers

    def whole(self, parameter: Any) -> Tensor:
        part = parameter.ds_tensor.detach().to(parameter.device)
        padded = torch.empty(len(part) * dist.get_world_size(), dtype=part.dtype, device=part.device)
        dist.all_gather_into_tensor(padded, part)
        return padded[: parameter.ds_numel].view(parameter.ds_shape)
