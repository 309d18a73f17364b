"""A whole copy of an objective whose weights are sharded, for as long as it is needed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class WholeCopy:
    """Keeps the structure of an objective and holds its weights between `fill` and `clear`."""

    def __init__(self, objective: nn.Module) -> None:
        """`objective`: before anything is sharded; its tensors are not copied."""
        without_values: dict[int, Any] = {id(p): _on_meta(p) for p in objective.parameters()}
        without_values |= {
            id(buffer): torch.empty_like(buffer, device="meta") for buffer in objective.buffers()
        }
        self._copy = copy.deepcopy(objective, without_values)
        self._is_filled = False

    def fill(self, objective: nn.Module, whole: Callable[[nn.Parameter], Tensor]) -> nn.Module:
        """The copy, with the present weights, buffers and modes of `objective`.

        `whole`: a parameter's values, whole; called for each in the same order on every rank.
        """
        if self._is_filled:
            return self._copy
        filled = {
            id(p): nn.Parameter(whole(p), requires_grad=p.requires_grad) for p in objective.parameters()
        }
        for mine, sharded in zip(self._copy.modules(), objective.modules(), strict=True):
            mine.training = sharded.training
            for name, parameter in sharded.named_parameters(recurse=False, remove_duplicate=False):
                mine.register_parameter(name, filled[id(parameter)])
            for name, buffer in sharded.named_buffers(recurse=False, remove_duplicate=False):
                setattr(mine, name, buffer.detach().clone())
        self._is_filled = True
        return self._copy

    def clear(self) -> None:
        """Free the weights, whoever still has the copy."""
        if self._is_filled:
            for parameter in self._copy.parameters():
                parameter.data = torch.empty(0, dtype=parameter.dtype, device=parameter.device)
            self._is_filled = False


def _on_meta(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
