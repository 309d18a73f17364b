"""Cost of each module of an objective in a forward pass: parameters, FLOPs, bytes kept for backward, time."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from scaling.profile.machine import local_part

DEPTH = 4  # image_tower, its trunk, blocks, one block


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModuleRow:
    """One module with all that is inside it."""

    name: str  # in the objective; "" is the objective itself
    kind: str  # its class
    depth: int
    parameters: int
    forward_flops: int  # of the micro-batch: 2 x multiply-adds of matrix products and convolutions
    # that autograd keeps for backward; what two modules keep counts where it came first
    activation_bytes: int
    forward_seconds: float  # of its operators, one after the other


class ModuleMeter:
    """Follows a forward pass through the modules of an objective; what is noticed counts for all around it."""

    def __init__(self, objective: nn.Module, depth: int = DEPTH) -> None:
        self._modules = {
            name: module
            for name, module in objective.named_modules()
            if _depth(name) <= depth and _counts(module)
        }
        self._stack: list[str] = []
        self._flops = dict.fromkeys(self._modules, 0)
        self._seconds = dict.fromkeys(self._modules, 0.0)
        self._kept = dict.fromkeys(self._modules, 0)
        state = (*objective.parameters(), *objective.buffers())
        self._state = {local_part(each).untyped_storage().data_ptr() for each in state}
        self._held: dict[int, Tensor] = {}

    def notice(self, seconds: float, flops: int) -> None:
        """An operator ran."""
        for name in self._stack:
            self._seconds[name] += seconds
            self._flops[name] += flops

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """The forward pass inside is followed; all of it belongs to the objective, which engines do not call itself."""
        handles = []
        self._stack = [""]
        for name, module in self._modules.items():
            if not name:
                continue
            handles.append(module.register_forward_pre_hook(self._entered(name)))
            handles.append(module.register_forward_hook(self._left(name), always_call=True))
        try:
            with saved_tensors_hooks(self._keep, lambda tensor: tensor):
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._stack = []
            self._held.clear()

    def rows(self) -> list[ModuleRow]:
        """The modules in the order of the objective."""
        return [
            ModuleRow(
                name=name,
                kind=type(module).__name__,
                depth=_depth(name),
                parameters=sum(_elements(parameter) for parameter in module.parameters()),
                forward_flops=self._flops[name],
                activation_bytes=self._kept[name],
                forward_seconds=self._seconds[name],
            )
            for name, module in self._modules.items()
        ]

    def _entered(self, name: str) -> Any:
        def enter(module: nn.Module, arguments: Any) -> None:
            self._stack.append(name)

        return enter

    def _left(self, name: str) -> Any:
        def leave(module: nn.Module, arguments: Any, result: Any) -> None:
            assert self._stack.pop() == name

        return leave

    def _keep(self, tensor: Tensor) -> Tensor:
        """Count a storage that autograd keeps, once; held until the pass is over, so that no address is used again.

        A weight is none, nor one that FSDP gathered for this pass.
        """
        if isinstance(tensor if tensor._base is None else tensor._base, nn.Parameter):
            return tensor
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address not in self._state and address not in self._held:
            self._held[address] = tensor
            for name in self._stack:
                self._kept[name] += storage.nbytes()
        return tensor


def _depth(name: str) -> int:
    return name.count(".") + 1 if name else 0


def _counts(module: nn.Module) -> bool:
    """Modules of which a reader learns something: those with parameters."""
    return any(True for _ in module.parameters())


def _elements(parameter: Tensor) -> int:
    """Of the whole parameter, also where ZeRO-3 has left an empty one in its place."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
