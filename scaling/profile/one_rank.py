"""A process group of one, in this process: engines want one, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist

from scaling.processes.ranks import Rank, free_port
from scaling.processes.residue import remove_allreduce_buffers


@contextlib.contextmanager
def process_group_of_one() -> Iterator[torch.device]:
    """The device of the only rank, its process group up; the environment is afterwards as it was."""
    port = free_port()
    rank = Rank(
        rank=0, num_ranks=1, local_rank=0, local_num_ranks=1, master_address="127.0.0.1", master_port=port
    )
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    before = dict(os.environ)
    os.environ.update(rank.environment(port))
    # before DeepSpeed is imported, which looks for devices otherwise
    os.environ.setdefault("DS_ACCELERATOR", kind)
    try:
        import deepspeed

        deepspeed.init_distributed(verbose=False)
        from scaling.train.engines.pieces import training_device

        yield training_device()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        remove_allreduce_buffers(port)
        os.environ.clear()
        os.environ.update(before)
