"""Batch normalisation whose result does not depend on how a batch is split over ranks and micro-batches.

Statistics are taken over groups of a fixed number of consecutive samples (ghost batch normalisation, arXiv
1705.08741, section 4), so that a group gives the same result on any rank and in any micro-batch.  The running
statistics, which only evaluation reads, are brought up to date once per optimizer step, from all groups of the
global batch.
"""

# Shapes.  B samples, C channels, H W positions.

from __future__ import annotations

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.across_ranks import num_ranks


class GroupedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over groups of `samples` consecutive samples, in place of one of timm's, whose weights it takes.

    The statistics of a group are counted once: not by a forward pass without gradient (which caches features
    that a second pass computes again), nor by one inside a backward pass (which recomputes activations).
    """

    def __init__(self, replaced: BatchNormAct2d, samples: int) -> None:
        super().__init__(replaced.num_features, eps=replaced.eps, momentum=replaced.momentum)
        self.samples = samples
        self.weight, self.bias = replaced.weight, replaced.bias
        self.drop: nn.Module = replaced.drop
        self.act: nn.Module = replaced.act
        self.num_counted = 0  # groups since the last update
        # sums of their means and variances, [C]; never saved
        self.counted: tuple[Tensor, Tensor] | None = None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalised and activated, [B, C, H, W]; ValueError unless the groups divide the batch."""
        if not self.training:
            return self._activate(super().forward(x_BCHW))
        if len(x_BCHW) % self.samples:
            raise ValueError(
                f"{len(x_BCHW)} samples do not divide into groups of batch_norm_samples {self.samples}: make the "
                f"micro-batch a multiple of {self.samples}, or lower batch_norm_samples (another experiment)."
            )
        groups = [self._normalise(group_NCHW) for group_NCHW in torch.split(x_BCHW, self.samples)]
        return self._activate(groups[0] if len(groups) == 1 else torch.cat(groups))

    def _activate(self, x_BCHW: Tensor) -> Tensor:
        activated_BCHW: Tensor = self.act(self.drop(x_BCHW))
        return activated_BCHW

    def _normalise(self, group_NCHW: Tensor) -> Tensor:
        mean, variance = self._zeros()
        # momentum 1: what comes back is the group's own mean and unbiased variance
        x_NCHW = F.batch_norm(group_NCHW, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        if _is_first_forward():
            sums = self.counted or self._zeros()
            self.counted = (sums[0] + mean, sums[1] + variance)
            self.num_counted += 1
        return x_NCHW

    def _zeros(self) -> tuple[Tensor, Tensor]:
        assert self.running_mean is not None and self.running_var is not None
        return torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)

    def take_counted(self) -> Tensor:
        """Sums of means and of variances and the number of groups, [2 C + 1], since this was last called."""
        sums, number = self.counted or self._zeros(), self.num_counted
        self.counted, self.num_counted = None, 0
        return torch.cat([*sums, sums[0].new_full([1], number)])

    def apply_counted(self, counted: Tensor) -> None:
        """Move the running statistics towards the mean over groups, as torch does once per batch."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        *sums, number = torch.split(counted, [self.num_features, self.num_features, 1])
        for running, total in zip((self.running_mean, self.running_var), sums, strict=True):
            # torch.where, not if: reading `number` would wait for the accelerator
            running.lerp_(torch.where(number > 0, total / number.clamp_min(1), running), self.momentum)
        self.num_batches_tracked += (number > 0).squeeze().to(self.num_batches_tracked.dtype)


def replace_batch_norms(module: nn.Module, samples: int) -> None:
    """Put a `GroupedBatchNorm` of `samples` samples in the place of every batch norm below `module`."""
    for name, child in module.named_children():
        if isinstance(child, BatchNormAct2d):
            setattr(module, name, GroupedBatchNorm(child, samples))
        else:
            assert not isinstance(child, nn.modules.batchnorm._BatchNorm), f"{name}: {type(child)}"
            replace_batch_norms(child, samples)


@torch.no_grad()
def update_running_statistics(module: nn.Module) -> None:
    """Bring the running statistics below `module` up to date; every rank calls it, once per optimizer step.

    One collective for all layers together, none where there is no batch norm.
    """
    norms = [part for part in module.modules() if isinstance(part, GroupedBatchNorm)]
    if not norms:
        return
    counted = torch.cat([norm.take_counted() for norm in norms])
    if num_ranks() > 1:
        dist.all_reduce(counted)
    parts = torch.split(counted, [2 * norm.num_features + 1 for norm in norms])
    for norm, part in zip(norms, parts, strict=True):
        norm.apply_counted(part)


def discard_counted_statistics(module: nn.Module) -> None:
    """Forget the statistics that batch norms counted for a step that was not taken."""
    for part in module.modules():
        if isinstance(part, GroupedBatchNorm):
            part.take_counted()


def _is_first_forward() -> bool:
    """Whether gradients are recorded, and not inside a backward pass, where activations are recomputed."""
    return torch.is_grad_enabled() and torch._C._current_graph_task_id() == -1
