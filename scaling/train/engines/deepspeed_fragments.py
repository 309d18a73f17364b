"""Flat parts of parameters, as views of the vectors that AdamW steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scaling.train.engines.protocol import PieceKind

Moments = Mapping[PieceKind, Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fragment:
    """A flat part of one parameter and of its moments: views of the vectors that AdamW steps."""

    name: str  # in the objective's state_dict
    parameter: nn.Parameter
    shape: tuple[int, ...]  # of the whole parameter
    start: int  # of its elements, the first that is here
    weight: Tensor  # [n]
    moments: Moments  # [n] each; none of a parameter that is not trained
    is_mine: bool  # whether no other rank has it, or this is the rank whose copy counts

    def part_of(self, whole: Tensor) -> Tensor:
        """The elements of a whole tensor that this fragment has, [n]."""
        return whole.detach().reshape(-1)[self.start : self.start + len(self.weight)]


def fragments_of(fragments: Iterable[Fragment], parameters: Iterable[nn.Parameter]) -> list[Fragment]:
    """Those fragments that are parts of one of the parameters."""
    wanted = {id(parameter) for parameter in parameters}
    return [fragment for fragment in fragments if id(fragment.parameter) in wanted]


def replica(name: str, parameter: nn.Parameter, moments: Moments) -> Fragment:
    """A parameter that every rank has whole; rank 0's copy counts."""
    return Fragment(
        name=name,
        parameter=parameter,
        shape=tuple(parameter.shape),
        start=0,
        weight=parameter.detach().view(-1),
        moments={kind: values.view(-1) for kind, values in moments.items()},
        is_mine=dist.get_rank() == 0,
    )


def add_moments(optimizer: torch.optim.AdamW, stepped: Tensor) -> Moments:
    """AdamW's new moments of a tensor that it steps: zeros, before the first step."""
    moments: dict[PieceKind, Tensor] = {
        "exp_avg": torch.zeros_like(stepped, requires_grad=False),
        "exp_avg_sq": torch.zeros_like(stepped, requires_grad=False),
    }
    # on the device of what is stepped, as torch's fused AdamW keeps it
    step = torch.zeros((), dtype=torch.float32, device=stepped.device)
    optimizer.state[stepped] = {"step": step, **moments}
    return moments
