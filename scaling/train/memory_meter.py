"""What a rank's memory holds at its peak: parameters, gradients, optimizer states, and the rest."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from scaling.train.engines.protocol import Engine, Piece

MOMENTS = ("exp_avg", "exp_avg_sq")


def peak_memory_bytes(device: torch.device) -> int:
    """The allocator's peak on CUDA; on a CPU, which has none, the process's largest resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def peak_memory_source(device: torch.device) -> str:
    """What `peak_memory_bytes` counts, as records.Measured.memory_source names it."""
    return "allocator" if device.type == "cuda" else "resident set"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MemoryByClass:
    """Bytes of one rank. The classes are those on the device that computes; `peak` = their sum with `rest`."""

    device: torch.device
    parameters: int  # float32 masters and what else the module keeps of its weights; buffers
    gradients: int  # counted, not measured: float32, of whole or sharded parameters as the ZeRO stage says
    optimizer_states: int
    on_host: int  # of all these, what is kept in the CPU's memory instead
    peak: int  # of the allocator, or the resident set on a CPU

    @property
    def rest(self) -> int:
        """Activations and temporaries; on a CPU also libraries, the loader's memory, all that the process holds."""
        return max(0, self.peak - self.parameters - self.gradients - self.optimizer_states)

    def at_present_peak(self) -> MemoryByClass:
        """The same state beside the peak until now."""
        return dataclasses.replace(self, peak=peak_memory_bytes(self.device))

    def bytes_by_class(self) -> dict[str, int]:
        """All of it by name."""
        classes = ("parameters", "gradients", "optimizer_states", "rest", "peak", "on_host")
        return {name: getattr(self, name) for name in classes}


def memory_by_class(engine: Engine, zero_stage: int) -> MemoryByClass:
    """The bytes of an engine's state on this rank; memory that several tensors view is counted once."""
    device, pieces = engine.device, engine.pieces()
    weights = [*_local_tensors(engine), *(piece.values for piece in pieces if piece.kind not in MOMENTS)]
    moments = [piece.values for piece in pieces if piece.kind in MOMENTS]
    gradients = _gradient_bytes(engine, pieces, zero_stage)
    parameters, parameters_on_host = _bytes_here_and_on_host(weights, device)
    states, states_on_host = _bytes_here_and_on_host(moments, device)
    return MemoryByClass(
        device=device,
        parameters=parameters,
        gradients=gradients,
        optimizer_states=states,
        on_host=parameters_on_host + states_on_host,
        peak=peak_memory_bytes(device),
    )


def _local_tensors(engine: Engine) -> list[Tensor]:
    """The module's parameters and buffers as they lie on this rank."""
    tensors = [*engine.objective.parameters(), *engine.objective.buffers()]
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach() for tensor in tensors]


def _gradient_bytes(engine: Engine, pieces: Iterable[Piece], zero_stage: int) -> int:
    """Of what AdamW trains: whole below stage 2, this rank's shard from there on."""
    if zero_stage < 2:
        trained: list[Tensor] = [tensor for tensor in engine.objective.parameters() if tensor.requires_grad]
    else:
        trained = [piece.values for piece in pieces if piece.kind == "exp_avg"]
    return sum(tensor.numel() for tensor in trained) * torch.float32.itemsize


def _bytes_here_and_on_host(tensors: Iterable[Tensor], device: torch.device) -> tuple[int, int]:
    """Bytes that `tensors` cover together on the device, and on the CPU where that is another."""
    here: list[tuple[int, int]] = []
    elsewhere: list[tuple[int, int]] = []
    for tensor in tensors:
        first = tensor.data_ptr()
        (here if tensor.device.type == device.type else elsewhere).append((first, first + tensor.nbytes))
    return _covered(here), _covered(elsewhere)


def _covered(ranges: Iterable[tuple[int, int]]) -> int:
    """How many bytes lie in at least one of the ranges (first, one after the last)."""
    covered, reached = 0, 0
    for first, end in sorted(ranges):
        covered += max(0, end - max(first, reached))
        reached = max(reached, end)
    return covered
