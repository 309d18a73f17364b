"""Stand-ins for what meters measure, and a count of what is read from the device."""

from __future__ import annotations

import traceback
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from scaling.records import PlannedCost
from scaling.train.engines.protocol import Piece
from scaling.train.progress import Progress

GLOBAL_BATCH = 8
FLOPS_PER_SAMPLE = 3_000


def planned_cost() -> PlannedCost:
    """A plan of two parts that sum to FLOPS_PER_SAMPLE."""
    return PlannedCost(
        parameters={},
        train_flops_per_sample={"image_tower": FLOPS_PER_SAMPLE - 1_000, "head": 1_000},
        train_flops=0,
        steps=1,
        accelerator="cpu_core",
        utilisation=0.1,
        device_hours=0.0,
    )


def point(zero_stage: int = 0, precision: str = "fp32") -> Any:
    """What meters read of a RunPoint."""
    return types.SimpleNamespace(
        science=types.SimpleNamespace(global_batch=GLOBAL_BATCH, precision=precision),
        placement=types.SimpleNamespace(zero_stage=zero_stage),
    )


class FakeEngine:
    """A linear layer of 12 weights and 4 biases (64 bytes), both with moments; a frozen one of 4 x 4 without."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.objective = nn.ModuleDict({"head": nn.Linear(3, 4), "tower": nn.Linear(4, 4, bias=False)})
        self.objective["tower"].requires_grad_(False)
        self.moments = torch.zeros(2, 16)

    def pieces(self) -> list[Piece]:
        weights = {name: value.detach().view(-1) for name, value in self.objective.state_dict().items()}
        flat = {"head.weight": slice(0, 12), "head.bias": slice(12, 16)}
        parts = [("weight", name, value) for name, value in weights.items()]
        parts += [
            (kind, name, self.moments[row, where])
            for row, kind in enumerate(("exp_avg", "exp_avg_sq"))
            for name, where in flat.items()
        ]
        return [
            Piece(name=name, kind=kind, shape=(len(value),), start=0, values=value, is_mine=True)
            for kind, name, value in parts
        ]


class NoStatistics:
    """Label statistics of an objective without labels."""

    def summary(self) -> dict[str, float]:
        return {}


def fresh_progress() -> Progress:
    """Nothing done yet, on one rank."""
    return Progress(num_ranks=1)


class Reads(TorchFunctionMode):
    """Notes what would wait for a device, numbers and copies taken out of tensors, with the functions that did it."""

    NAMES = ("item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__", "__index__", "__array__")

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[tuple[str, ...]] = []  # per read: the functions of the package, innermost first
        self._dispatched = _Dispatched(self)

    def note(self) -> None:
        """Note a read and who is reading."""
        frames = [frame for frame, _ in traceback.walk_stack(None)]
        ours = [frame for frame in frames if frame.f_globals.get("__name__", "").startswith("scaling.")]
        self.readers.append(tuple(frame.f_code.co_qualname for frame in ours))

    def __enter__(self) -> Reads:
        super().__enter__()
        self._dispatched.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._dispatched.__exit__(*error)
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.NAMES:
            self.note()
        return func(*args, **(kwargs or {}))


class _Dispatched(TorchDispatchMode):
    """Likewise for what operations read among themselves: numbers, and the sizes of results that depend on values."""

    READING = (
        torch.ops.aten._local_scalar_dense.default,
        torch.ops.aten.bincount.default,
        torch.ops.aten.masked_select.default,
        torch.ops.aten.nonzero.default,
    )

    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.READING or _is_cut_by_a_mask(func, args):
            self._reads.note()
        return func(*args, **(kwargs or {}))


def _is_cut_by_a_mask(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation picks the elements where a tensor of truth values is true."""
    if func is not torch.ops.aten.index.Tensor:
        return False
    return any(index is not None and index.dtype == torch.bool for index in args[1])


def losses(value: float) -> dict[str, Tensor]:
    """Named losses as accumulation returns them."""
    return {"loss": torch.tensor(value), "part": torch.tensor(2 * value)}
