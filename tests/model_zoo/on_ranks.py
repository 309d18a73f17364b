"""Functions run by several processes of one gloo group, which share one import of the libraries."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

PRELOADED = ["torch", "timm.models.vision_transformer", "open_clip.loss"]


def run_on_ranks(function: Callable[[int, int], Any], num_ranks: int, folder: Path) -> list[Any]:
    """What function(rank, num_ranks) returned on each rank."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    torch.multiprocessing.start_processes(
        _rank, args=(function, num_ranks, str(folder)), nprocs=num_ranks, start_method="forkserver"
    )
    return [torch.load(folder / f"{rank}.pt") for rank in range(num_ranks)]


def _rank(rank: int, function: Callable[[int, int], Any], num_ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", rank=rank, world_size=num_ranks, init_method=f"file://{folder}/rendezvous"
    )
    torch.save(function(rank, num_ranks), f"{folder}/{rank}.pt")
    dist.destroy_process_group()
