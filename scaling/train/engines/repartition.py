"""A ZeRO-1 checkpoint rewritten as another number of ranks would have written it.

ZeRO-1 flattens the weights of each optimizer group into one vector, pads it and gives every rank an equal part; the
optimizer's states are cut alike. DeepSpeed 0.19.8 loads such a checkpoint on as many ranks as wrote it and refuses any
other number (its universal checkpoints ask for a step offline and lose the module's buffers), so the parts are joined
and cut again here, and DeepSpeed then loads what it takes for its own.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MODEL_FILE = "mp_rank_00_model_states.pt"
PARTITION_ALIGNMENT = 2  # elements; DeepSpeedZeroOptimizer.nccl_start_alignment_factor (deepspeed 0.19.8)
STATE, PARTITIONS, BASE = "optimizer_state_dict", "single_partition_of_fp32_groups", "base_optimizer_state"


def partition_file(rank: int) -> str:
    """The file of one rank's part of the optimizer."""
    return f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"


def repartition(source: Path, destination: Path, num_ranks: int) -> None:
    """Write the ZeRO-1 checkpoint of the folder `source` to `destination`, cut for `num_ranks` ranks.

    Memory: the whole optimizer state, 12 bytes per parameter, and once more for the parts. ValueError if the files are
    not a whole ZeRO-1 checkpoint.
    """
    model = torch.load(source / MODEL_FILE, map_location="cpu", weights_only=False)
    parts = [_read_part(source / partition_file(rank)) for rank in range(int(model["dp_world_size"]))]
    sizes = [sum(math.prod(shape) for shape in group.values()) for group in model["param_shapes"]]
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir(parents=True)
    torch.save({**model, "dp_world_size": num_ranks}, destination / MODEL_FILE)
    for rank in range(num_ranks):
        torch.save(_part_of(rank, num_ranks, parts, sizes), destination / partition_file(rank))


def _read_part(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ValueError(f"{path} is missing: the checkpoint is not whole.")
    part: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    paddings = part[STATE]["param_alignment_paddings"]
    if int(part[STATE]["zero_stage"]) != 1 or any(padding for group in paddings for padding in group):
        raise ValueError(f"{path} is no plain ZeRO-1 checkpoint: continue on as many ranks as wrote it.")
    return part


def _part_of(
    rank: int, num_ranks: int, parts: Sequence[dict[str, Any]], sizes: Sequence[int]
) -> dict[str, Any]:
    """What rank `rank` of `num_ranks` would have written."""
    states = [part[STATE] for part in parts]
    lengths = [_length(size, num_ranks) for size in sizes]
    slices = [slice(rank * length, (rank + 1) * length) for length in lengths]

    def cut(group: int, pieces: list[Tensor]) -> Tensor:
        whole = torch.cat(pieces)[: sizes[group]]
        padded = torch.nn.functional.pad(whole, (0, lengths[group] * num_ranks - sizes[group]))
        return padded[slices[group]].clone()

    optimizer = {
        group: {
            name: (
                value
                if value.dim() == 0
                else cut(group, [state[BASE]["state"][group][name] for state in states])
            )
            for name, value in first.items()
        }
        for group, first in states[0][BASE]["state"].items()
    }
    is_last = rank == num_ranks - 1
    assert all(length * num_ranks - size < length for length, size in zip(lengths, sizes, strict=True)), sizes
    changed = {
        BASE: {**states[0][BASE], "state": optimizer},
        PARTITIONS: [
            cut(group, [state[PARTITIONS][group] for state in states]) for group in range(len(sizes))
        ],
        "group_paddings": [
            length * num_ranks - size if is_last else 0 for length, size in zip(lengths, sizes, strict=True)
        ],
        "partition_count": [num_ranks for _ in sizes],
    }
    kept = {
        key: value for key, value in states[0].items() if key != "param_slice_mappings"
    }  # of the old parts
    return {**parts[0], STATE: {**kept, **changed}}


def _length(size: int, num_ranks: int) -> int:
    """Elements of a rank's part of a vector of `size`, the padding included."""
    alignment = PARTITION_ALIGNMENT * num_ranks
    return -(-size // alignment) * alignment // num_ranks
