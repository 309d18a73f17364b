"""Selective activation checkpointing: outputs of the expensive operations are kept, everything else is recomputed.

torch has contexts for this (create_selective_checkpoint_contexts), which fail under DeepSpeed's ZeRO-3 (0.19.8).  They
refuse the operations that gather weights a second time.  And they do not notice that its linear layer adds the bias in
place to an output that is kept: the recomputation adds it again, and gradients are silently wrong.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_aten = torch.ops.aten
KEPT_OPERATIONS = [
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten.baddbmm.default,
    _aten.convolution.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
]
"""Matrix products, convolutions and attention, as torch 2.15 names them; attention without a fused kernel is bmm."""


def keep_operations() -> tuple[TorchDispatchMode, TorchDispatchMode]:
    """The `context_fn` of torch.utils.checkpoint: contexts of one block's forward pass and of its recomputation."""
    keeping = _Keeping()
    return keeping, _GivingBack(keeping)


class _Keeping(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the results of KEPT_OPERATIONS, in the order they run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[Any, deque[Any]] = defaultdict(deque)
        self._places: dict[int, tuple[Any, int]] = {}  # storage -> operation and number of what is kept

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _written(func, args):
            self._save_from_writing(tensor)
        made = func(*args, **kwargs or {})
        if func in KEPT_OPERATIONS:
            for tensor in _tensors(made):
                self._places[_storage(tensor)] = func, len(self.kept[func])
            self.kept[func].append(tree_map(_detached, made))
        return made

    def _save_from_writing(self, tensor: Tensor) -> None:
        """If what is kept shares the tensor's memory, replace it by a copy, made before the tensor is written to."""
        if (place := self._places.pop(_storage(tensor), None)) is not None:
            func, number = place
            self.kept[func][number] = tree_map(_copied, self.kept[func][number])


class _GivingBack(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Returns the kept results of KEPT_OPERATIONS instead of computing them; other operations run."""

    def __init__(self, keeping: _Keeping) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept = keeping.kept

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in KEPT_OPERATIONS:
            assert self._kept[func], f"{func}: the recomputation runs it more often than the forward pass did"
            return self._kept[func].popleft()
        return func(*args, **kwargs or {})


def _written(func: Any, args: tuple[Any, ...]) -> Iterator[Tensor]:
    """The arguments that the operation writes to."""
    if func._schema.is_mutable:
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                yield from _tensors(value)


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf  # autograd writes into what is returned


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
