"""What engines that step with torch's AdamW have in common: their device, and pieces of what every rank holds whole."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from scaling.train.engines.protocol import Piece


def training_device() -> torch.device:
    """This rank's device: its CUDA device, which the caller has chosen, unless DS_ACCELERATOR says cpu."""
    if torch.cuda.is_available() and os.environ.get("DS_ACCELERATOR", "cuda") == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def named_buffers(objective: nn.Module) -> dict[str, Tensor]:
    """The buffers that state_dict holds, by its names."""
    known = {name for name, _ in objective.named_parameters()}
    return {name: value for name, value in objective.state_dict().items() if name not in known}


def buffer_pieces(objective: nn.Module, *, is_mine: bool) -> list[Piece]:
    """The buffers that state_dict holds, each in one piece."""
    return [
        Piece(
            name=name,
            kind="buffer",
            shape=tuple(value.shape),
            start=0,
            values=value.detach().view(-1),
            is_mine=is_mine,
        )
        for name, value in named_buffers(objective).items()
    ]
