"""AdamW by the recipe, its moments in place before the first step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from scaling.train.engines.protocol import EngineSettings


def build_adamw(
    decayed: Sequence[nn.Parameter],
    not_decayed: Sequence[nn.Parameter],
    settings: EngineSettings,
    *,
    fused: bool,
) -> torch.optim.AdamW:
    """AdamW over both groups (model_zoo.build.weight_decay_groups), no step made yet.

    Its moments are zeros that exist, so that they can be read and restored before the first step.
    """
    groups = [
        {"params": list(decayed), "weight_decay": settings.weight_decay},
        {"params": list(not_decayed), "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=fused,
        foreach=None if fused else False,
    )
    for parameter in (*decayed, *not_decayed):
        on_device = parameter.device if fused else torch.device("cpu")  # where torch keeps the step itself
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=on_device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def set_learning_rate(optimizer: torch.optim.AdamW, learning_rate: float) -> None:
    """Use the learning rate in the steps to come."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def set_steps(optimizer: torch.optim.AdamW, number: int) -> None:
    """Continue as after `number` steps: AdamW's bias correction depends on it."""
    for state in optimizer.state.values():
        state["step"].fill_(number)
