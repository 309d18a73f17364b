"""What AdamW reads and writes, against torch's fused step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model_zoo.activation_segments import FP32
from model_zoo.optimizer_counts import BYTES_PER_PARAMETER, FLOPS_PER_PARAMETER, count_adamw

NUMBER = 1000


def test_a_step_reads_four_numbers_of_each_parameter_and_writes_those_that_change() -> None:
    weight = torch.nn.Parameter(torch.randn(NUMBER))
    optimizer = torch.optim.AdamW([weight], fused=True)

    def step() -> dict[str, Tensor]:
        weight.grad = torch.ones(NUMBER)
        optimizer.step()
        moments = {name: optimizer.state[weight][name] for name in ("exp_avg", "exp_avg_sq")}
        return {"weight": weight.detach(), "gradient": weight.grad, **moments}

    before = {name: tensor.clone() for name, tensor in step().items()}
    after = step()
    written = [name for name, tensor in after.items() if not torch.equal(tensor, before[name])]
    assert sorted(written) == ["exp_avg", "exp_avg_sq", "weight"]
    moved = sum(tensor.nbytes for tensor in after.values()) + sum(after[name].nbytes for name in written)
    assert moved == BYTES_PER_PARAMETER * NUMBER


@pytest.mark.parametrize(
    "clips, copies_weights, numbers_moved", [(0, 0, 8), (1, 0, 10), (0, 1, 10), (1, 1, 12)]
)
def test_the_norm_reads_gradients_and_scaling_and_copying_read_and_write(
    clips: int, copies_weights: int, numbers_moved: int
) -> None:
    step = count_adamw(NUMBER, clips=bool(clips), copies_weights=bool(copies_weights))
    assert step.memory_bytes == numbers_moved * FP32 * NUMBER
    assert step.flops == (FLOPS_PER_PARAMETER + 2 + clips) * NUMBER
