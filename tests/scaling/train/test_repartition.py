"""Cutting a ZeRO-1 checkpoint anew: the same vectors, whoever holds which part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from scaling.train.engines.repartition import MODEL_FILE, partition_file, repartition

SHAPES = [{"head.weight": torch.Size([5, 7]), "tower.weight": torch.Size([9])}, {"bias": torch.Size([13])}]
SIZES = [44, 13]


def write(folder: Path, num_ranks: int, *, stage: int = 1) -> Path:
    """A checkpoint whose vectors count upwards, laid out as deepspeed 0.19.8 does."""
    folder.mkdir(parents=True)
    torch.save(
        {"module": {"x": torch.ones(2)}, "param_shapes": SHAPES, "dp_world_size": num_ranks},
        folder / MODEL_FILE,
    )
    for rank in range(num_ranks):
        parts, states, paddings = [], {}, []
        for group, size in enumerate(SIZES):
            total = -(-size // (2 * num_ranks)) * 2 * num_ranks
            length, padding = total // num_ranks, total - size
            own = torch.nn.functional.pad(torch.arange(size) + 100.0 * group, (0, padding))[
                rank * length : (rank + 1) * length
            ]
            is_last = rank == num_ranks - 1
            parts.append(own[: length - padding] if is_last else own)  # saved without its padding
            states[group] = {"step": torch.tensor(3.0), "exp_avg": own / 2, "exp_avg_sq": own * 4}
            paddings.append(padding if is_last else 0)
        optimizer = {
            "base_optimizer_state": {"state": states, "param_groups": [{"lr": 0.1}]},
            "single_partition_of_fp32_groups": parts,
            "zero_stage": stage,
            "group_paddings": paddings,
            "param_alignment_paddings": [[0, 0], [0]],
            "partition_count": [num_ranks, num_ranks],
        }
        torch.save({"optimizer_state_dict": optimizer, "ds_version": "0.19.8"}, folder / partition_file(rank))
    return folder


def read(folder: Path, num_ranks: int) -> list[dict[str, Any]]:
    return [
        torch.load(folder / partition_file(rank), weights_only=False)["optimizer_state_dict"]
        for rank in range(num_ranks)
    ]


@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_checkpoint_cut_anew_is_the_one_that_so_many_ranks_write(
    before: int, after: int, tmp_path: Path
) -> None:
    repartition(write(tmp_path / "old", before), tmp_path / "new", after)
    expected = read(write(tmp_path / "expected", after), after)
    for found, wanted in zip(read(tmp_path / "new", after), expected, strict=True):
        assert (found["group_paddings"], found["partition_count"]) == (
            wanted["group_paddings"],
            wanted["partition_count"],
        )
        for group, padding in enumerate(wanted["group_paddings"]):
            own = found["single_partition_of_fp32_groups"][group]
            kept = own[: len(own) - padding]
            assert torch.equal(kept, wanted["single_partition_of_fp32_groups"][group])
            for name, value in wanted["base_optimizer_state"]["state"][group].items():
                assert torch.equal(found["base_optimizer_state"]["state"][group][name], value), name
    model = torch.load(tmp_path / "new" / MODEL_FILE, weights_only=False)
    assert model["dp_world_size"] == after and torch.equal(model["module"]["x"], torch.ones(2))


def test_a_checkpoint_with_a_missing_part_is_refused_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "old", 2)
    (folder / partition_file(1)).unlink()
    with pytest.raises(ValueError, match="zero_pp_rank_1_mp_rank_00_optim_states.pt is missing"):
        repartition(folder, tmp_path / "new", 1)


def test_another_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no plain ZeRO-1 checkpoint: continue on as many ranks"):
        repartition(write(tmp_path / "old", 2, stage=2), tmp_path / "new", 1)
