"""Every operator of a step, timed one by one: seconds, FLOPs and bytes, and the module in whose forward it ran."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from scaling.profile.flops import CORRECTED_FORMULAS
from scaling.profile.machine import MachinePeaks, local_part, wait_for

LABELLED_TENSORS = 2  # of an operator's arguments: the factors of a product


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """One operator on arguments of one shape, all calls of a step together."""

    name: str
    shapes: str
    calls: int
    seconds: float
    flops: int  # 2 x multiply-adds of matrix products and convolutions; 0 for all else
    moved_bytes: int  # arguments and results once each: caches may spare some, spills may add some

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds

    @property
    def bytes_per_second(self) -> float:
        return self.moved_bytes / self.seconds

    @property
    def flops_per_byte(self) -> float:
        """Arithmetic intensity, the horizontal axis of a roofline."""
        return self.flops / max(self.moved_bytes, 1)

    def share_of_roof(self, peaks: MachinePeaks) -> float:
        """The time that the roofline allows over the time that it took."""
        return peaks.seconds_at_least(self.flops, self.moved_bytes) / self.seconds


class OperatorTimer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Times all operators that run inside it, on the device, waiting for each.

    `notice` is called for each with its seconds and FLOPs, while it is known where in the model we are.
    """

    def __init__(self, device: torch.device, notice: Callable[[float, int], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device
        self._notice = notice
        self._totals: dict[tuple[str, str], list[float]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        wait_for(self._device)
        began = time.perf_counter()
        result = func(*args, **given)
        wait_for(self._device)
        seconds = time.perf_counter() - began
        flops = _flops(func, args, given, result)
        self._notice(seconds, flops)
        if func.is_view:  # moves nothing
            return result
        tensors = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        moved = sum(map(_bytes, [*tensors, *(t for t in tree_leaves(result) if isinstance(t, Tensor))]))
        key = (func.overloadpacket.__name__.strip("_"), _shapes(tensors))
        total = self._totals.setdefault(key, [0, 0.0, 0, 0])
        for place, amount in enumerate((1, seconds, flops, moved)):
            total[place] += amount
        return result

    def operators(self) -> list[Operator]:
        """Those that took longest first."""
        found = [
            Operator(
                name=name,
                shapes=shapes,
                calls=int(calls),
                seconds=seconds,
                flops=int(flops),
                moved_bytes=int(moved),
            )
            for (name, shapes), (calls, seconds, flops, moved) in self._totals.items()
        ]
        return sorted(found, key=lambda operator: -operator.seconds)


_FORMULAS = flop_registry | {
    packet: shape_wrapper(formula) for packet, formula in CORRECTED_FORMULAS.items()  # type: ignore[no-untyped-call]
}


def _flops(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    formula = _FORMULAS.get(func.overloadpacket)
    return 0 if formula is None else int(formula(*args, **kwargs, out_val=result))


def _bytes(tensor: Tensor) -> int:
    """Of a tensor's elements; of an expanded one, whose elements repeat, those that exist."""
    here = local_part(tensor)
    return min(here.numel() * here.element_size(), here.untyped_storage().nbytes())


def _shapes(tensors: Sequence[Tensor]) -> str:
    """Of the largest arguments: "1576x384, 384x1152"."""
    kept = sorted(tensors, key=lambda tensor: -tensor.numel())[:LABELLED_TENSORS]
    more = f" and {len(tensors) - len(kept)} more" if len(tensors) > 2 * LABELLED_TENSORS else ""
    return ", ".join("x".join(map(str, tensor.shape)) or "1" for tensor in kept) + more
