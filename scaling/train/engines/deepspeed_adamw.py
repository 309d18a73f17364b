"""AdamW for DeepSpeed, and what it must see to where DeepSpeed does not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from model_zoo.build import weight_decay_groups
from scaling.train.engines.protocol import EngineSettings


class WatchfulAdamW(torch.optim.AdamW):
    """AdamW that clips, tells the gradient's norm and leaves the weights alone if that is not finite.

    For stage 0, where DeepSpeed 0.19.8 tells no norm and steps into NaN: ZeRO's optimizers do all this. DeepSpeed reads
    `overflow` and `_global_grad_norm` after a step, as it does theirs.
    """

    def __init__(self, *arguments: Any, gradient_clipping: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.overflow = False
        self._global_grad_norm = torch.tensor(float("nan"))
        self._gradient_clipping = gradient_clipping

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step from the gradients that all ranks have averaged."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self._global_grad_norm, self.overflow = norm, not bool(norm.isfinite())
        if self.overflow:
            return
        if self._gradient_clipping:
            nn.utils.clip_grads_with_norm_(parameters, self._gradient_clipping, norm)
        super().step(closure)


def adamw(objective: nn.Module, settings: EngineSettings, device: torch.device) -> torch.optim.AdamW:
    """AdamW over the objective's trained parameters, by the recipe; ZeRO adds the moments of what a rank steps."""
    decayed, not_decayed = weight_decay_groups(objective)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": not_decayed, "weight_decay": 0.0},
    ]
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "eps": settings.adam_epsilon,
        "fused": device.type in ("cpu", "cuda"),
    }
    if settings.zero_stage:
        return torch.optim.AdamW(groups, **options)
    return WatchfulAdamW(groups, **options, gradient_clipping=settings.gradient_clipping)


def check_shapes(objective: nn.Module) -> None:
    """ValueError if a parameter has no dimension."""
    scalars = [name for name, parameter in objective.named_parameters() if not parameter.dim()]
    if scalars:
        raise ValueError(
            f"parameter {scalars[0]} has no dimension, which neither DeepSpeed 0.19.8 nor FSDP2 can train: give it the "
            "shape [1]."
        )


def trained_elements(objective: nn.Module) -> int:
    """Elements of all parameters that are trained."""
    return sum(parameter.numel() for parameter in objective.parameters() if parameter.requires_grad)
