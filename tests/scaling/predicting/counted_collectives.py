"""Prints what one rank of many sends in an optimizer step, as torch sees its collectives; a process of its own.

Arguments: a JSON list of cases.  The other ranks are those of torch's fake process group, which communicates nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_RANK": "0"}
sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from engine_oracle import VOCABULARY, Case, batch_of, objective_of, rows_of, settings_of  # noqa: E402
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from scaling.data.images.augmentation import Augmentation  # noqa: E402
from scaling.train.accumulation import Accumulation  # noqa: E402
from scaling.train.engines import deepspeed_configuration  # noqa: E402
from scaling.train.idf import build_statistics  # noqa: E402


class SentBytes(TorchDispatchMode):
    """Bytes that a rank sends, by collective, with rings."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            leaves = tree_leaves(args)
            (group,) = (leaf for leaf in leaves if isinstance(leaf, torch.ScriptObject) and _is_group(leaf))
            size = max(leaf.nbytes for leaf in leaves if isinstance(leaf, torch.Tensor))
            number = dist.ProcessGroup.unbox(group).size()
            trips = 2 if func._opname.startswith("allreduce") else 1
            self.sent[func._opname.strip("_").partition("_")[0]] += trips * size * (number - 1) // number
        return func(*args, **(kwargs or {}))


def _is_group(value: torch.ScriptObject) -> bool:
    return "ProcessGroup" in str(value._type())


deepspeed_configuration.PERSISTENT_ELEMENTS = 2  # so that small weights are sharded like large ones


def sent_in_a_step(case: dict[str, Any]) -> dict[str, int]:
    """Of the second step: the first has DeepSpeed learn the order of weights."""
    deepspeed_configuration.LIVE_ELEMENTS = case.get("live_elements", deepspeed_configuration.LIVE_ELEMENTS)
    num_ranks, shard_ranks = case["num_ranks"], case["shard_ranks"]
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=num_ranks)
    run = Case(
        objective=case["objective"],
        image_tower=case.get("image_tower", "vit_nano8"),
        image_size=case.get("image_size", 16),
        global_batch=case["global_batch"],
        micro_batch=case["micro_batch"],
        changes=tuple(case.get("changes", {}).items()),
    )
    settings = settings_of(run, num_ranks, zero_stage=case["zero_stage"], shard_ranks=shard_ranks)
    engine = _engine(case["engine"])(objective_of(run), settings)
    accumulation = Accumulation(
        engine, augmentation=Augmentation(), micro_batch=run.micro_batch, num_ranks=num_ranks
    )
    statistics = build_statistics(case["idf"], VOCABULARY, engine.device, None)
    batch = rows_of(batch_of(run, 0), 0, num_ranks)
    for _ in range(2):
        with SentBytes() as mode:
            accumulation.forward_backward(batch, batch.targets, statistics.observe(batch.targets))
            engine.step(1e-3)
    dist.destroy_process_group()
    return dict(mode.sent)


def _engine(name: str) -> Any:
    if name == "fsdp":
        from scaling.train.engines.fsdp import FsdpEngine

        return FsdpEngine
    from scaling.train.engines.deepspeed import DeepSpeedEngine

    return DeepSpeedEngine


if __name__ == "__main__":
    print(json.dumps([sent_in_a_step(case) for case in json.loads(sys.argv[1])]))
