"""The head with sharded parameters: DeepSpeed ZeRO 1 to 3 and FSDP2 on two ranks, against one plain process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import json, os, sys
rank, num_ranks, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
os.environ.update(RANK=str(rank), WORLD_SIZE=str(num_ranks), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(num_ranks),
                  LOCAL_SIZE=str(num_ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=port, DS_ACCELERATOR="cpu")
import torch
from torch import nn
from model_zoo.classification_head import ClassificationHead
from model_zoo.classification_losses import ClassificationLoss
from model_zoo.targets import LabelSets

BATCH, WIDTH, VOCABULARY, STEPS, RATE = 8, 12, 50, 4, 0.05
draw = torch.Generator().manual_seed(1)
inputs = torch.randn(BATCH, 6, generator=draw)
sets = [torch.randperm(VOCABULARY, generator=draw)[: 1 + n % 4].sort().values for n in range(BATCH)]
labels = LabelSets(torch.cat(sets), torch.tensor([0, *map(len, sets)]).cumsum(0), torch.arange(BATCH) % 5 != 3)
num_valid = float(labels.valid_B.sum())

class Classifier(nn.Module):
    def __init__(self, loss, recompute):
        super().__init__()
        torch.manual_seed(0)
        self.tower = nn.Linear(6, WIDTH)
        self.head = ClassificationHead(WIDTH, VOCABULARY, loss=ClassificationLoss(name=loss), hidden_layers=1,
                                       recompute=recompute)

    def forward(self, inputs, labels, divisor):
        return self.head(self.tower(inputs), labels, divisor)

def adamw(module):
    return torch.optim.AdamW(module.parameters(), lr=RATE)

def plain(loss, recompute):
    module = Classifier(loss, recompute)
    optimizer = adamw(module)
    for _ in range(STEPS):
        value = module(inputs, labels, num_valid)
        optimizer.zero_grad(); value.backward(); optimizer.step()
        yield float(value.detach())

share = slice(rank * BATCH // num_ranks, (rank + 1) * BATCH // num_ranks)
mine = inputs[share], labels.rows(share.start, share.stop), num_valid / num_ranks

def mean(value):
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return float(total) / num_ranks

def deepspeed_zero(stage, loss, recompute):
    import deepspeed
    configuration = {"train_batch_size": BATCH, "train_micro_batch_size_per_gpu": BATCH // num_ranks,
        "gradient_clipping": 0.0, "zero_optimization": {"stage": stage}, "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9}
    module = Classifier(loss, recompute)
    engine, *_ = deepspeed.initialize(model=module, optimizer=adamw(module), config=configuration)
    for _ in range(STEPS):
        value = engine(*mine)
        engine.backward(value); engine.step()
        yield mean(value)

def fsdp(loss, recompute):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    module = Classifier(loss, recompute)
    mesh = init_device_mesh("cpu", (num_ranks,))
    fully_shard(module.head, mesh=mesh, reshard_after_forward=True)
    fully_shard(module, mesh=mesh)
    optimizer = adamw(module)
    for _ in range(STEPS):
        value = module(*mine)
        optimizer.zero_grad(); value.backward(); optimizer.step()
        yield mean(value)

cases = [("softmax", False), ("softmax", True), ("bce", False), ("two_way", False)]
if num_ranks == 1:
    for loss, recompute in cases:
        print(json.dumps([f"plain {loss} {recompute}", list(plain(loss, recompute))]), flush=True)
else:
    import deepspeed
    deepspeed.init_distributed(verbose=False)
    for loss, recompute in cases:
        found = {f"zero {stage}": list(deepspeed_zero(stage, loss, recompute)) for stage in (1, 2, 3)}
        found["fsdp2"] = list(fsdp(loss, recompute))
        for engine, losses in found.items():
            print(json.dumps([f"{engine} {loss} {recompute}", losses]), flush=True)
os._exit(0)
"""


def _run(num_ranks: int) -> dict[str, list[float]]:
    from scaling.launching.agreement import free_port
    from scaling.processes.residue import remove_allreduce_buffers

    port = free_port()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), str(num_ranks), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": programs},
        )
        for rank in range(num_ranks)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    remove_allreduce_buffers(port)
    assert all(process.returncode == 0 for process in processes), outputs[-1][1][-3000:]
    return dict(json.loads(line) for line in outputs[0][0].splitlines() if line.startswith("["))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return _run(1) | _run(2)


@pytest.mark.parametrize("engine", ["zero 1", "zero 2", "zero 3", "fsdp2"])
@pytest.mark.parametrize("case", ["softmax False", "softmax True", "bce False", "two_way False"])
def test_a_sharded_head_trains_as_a_plain_one(engine: str, case: str, found: dict[str, Any]) -> None:
    plain = found[f"plain {case}"]
    assert found[f"{engine} {case}"] == pytest.approx(plain, rel=1e-4) and plain[-1] < plain[0]
