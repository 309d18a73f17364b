"""Checkpoints among processes: what two ranks of a gloo group write, damage and continue together."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from cut_engine import CutEngine, a_state, even_cuts

import scaling.train.checkpoint
from scaling.checkpoints.publishing import KeepRule
from scaling.records import RunDirectory, WriteError
from scaling.train.checkpoint import Checkpointer
from scaling.train.idf import DocumentFrequencies
from scaling.train.progress import Progress
from scaling.train.rank_group import FailedElsewhere, RankGroup

NUM_RANKS = 2


def _checkpointer(run: RunDirectory, rank: int, seed: int) -> tuple[Checkpointer, CutEngine]:
    state = a_state(seed)
    engine: Any = CutEngine(state, even_cuts(state, NUM_RANKS), rank)
    statistics = DocumentFrequencies(4, torch.device("cpu"))
    group = RankGroup(rank=rank, num_ranks=NUM_RANKS)
    keep = KeepRule(latest=3, every_samples=0, global_batch=8)
    checkpointer = Checkpointer(
        run, engine, statistics, group=group, seed=0, keep=keep, environment=lambda: {}
    )
    return checkpointer, engine


def _continue(run: RunDirectory, rank: int) -> dict[str, Any]:
    """What this rank continues from, and whether its pieces are those of that step."""
    checkpointer, engine = _checkpointer(run, rank, seed=0)
    engine.forget()
    progress = checkpointer.restore()
    _, expected = _checkpointer(run, rank, seed=progress.step)
    pairs = zip(engine.pieces(), expected.pieces(), strict=True)
    return {
        "step": progress.step,
        "warnings": progress.warnings,
        "is_exact": all(torch.equal(one.values, other.values) for one, other in pairs),
        "draw": torch.rand(1).item(),
    }


def _a_life(rank: int, folder: str) -> None:
    """Two checkpoints; a third that rank 1 cannot write; a damaged file of rank 1; what was seen goes to a file."""
    dist.init_process_group(
        "gloo", rank=rank, world_size=NUM_RANKS, init_method=f"file://{folder}/rendezvous"
    )
    run = RunDirectory(Path(folder) / "run")
    torch.manual_seed(rank)
    for step in (1, 2):
        _checkpointer(run, rank, seed=step)[0].save(Progress(num_ranks=NUM_RANKS, step=step), wait=True)
    seen: dict[str, Any] = {"draw": torch.rand(1).item(), "whole": _continue(run, rank)}
    seen["error"] = _failed_save(run, rank)
    dist.barrier()
    if rank == 1:
        damaged = run.checkpoints / "step-000000002" / "rank-00001.safetensors"
        content = bytearray(damaged.read_bytes())
        content[-3] ^= 1
        damaged.write_bytes(content)
    dist.barrier()
    seen["damaged"] = _continue(run, rank)
    torch.save(seen, f"{folder}/seen-{rank}.pt")
    dist.destroy_process_group()


def _failed_save(run: RunDirectory, rank: int) -> str:
    def full(folder: Path, rank: int, parts: Any) -> None:
        raise WriteError("No space left on device")

    write_share = scaling.train.checkpoint.write_share
    if rank == 1:
        scaling.train.checkpoint.write_share = full
    try:
        _checkpointer(run, rank, seed=3)[0].save(Progress(num_ranks=NUM_RANKS, step=3), wait=True)
    except (WriteError, FailedElsewhere) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        scaling.train.checkpoint.write_share = write_share
    return "none"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.set_forkserver_preload(["torch"])
    torch.multiprocessing.start_processes(
        _a_life, args=(str(folder),), nprocs=NUM_RANKS, start_method="forkserver"
    )
    return [torch.load(folder / f"seen-{rank}.pt") for rank in range(NUM_RANKS)]


def test_every_rank_continues_with_its_own_pieces_and_draws(seen: list[dict[str, Any]]) -> None:
    for rank in seen:
        whole = rank["whole"]
        assert (whole["step"], whole["warnings"], whole["is_exact"]) == (2, [], True)
        assert whole["draw"] == rank["draw"], "its random state, not another rank's"
    assert seen[0]["draw"] != seen[1]["draw"]


def test_a_rank_that_cannot_write_fails_all_ranks_and_not_the_run(seen: list[dict[str, Any]]) -> None:
    assert [rank["error"] for rank in seen] == [
        "FailedElsewhere: rank 1: WriteError: No space left on device",
        "WriteError: No space left on device",
    ]


def test_damage_that_one_rank_finds_makes_all_ranks_fall_back_to_the_same_checkpoint(
    seen: list[dict[str, Any]],
) -> None:
    """It is also the newest good one: the save that failed was never in force."""
    for rank in seen:
        assert rank["damaged"]["step"] == 1 and rank["damaged"]["is_exact"]
        assert len(rank["damaged"]["warnings"]) == 1
        assert "step-000000002 is damaged" in rank["damaged"]["warnings"][0]
        assert "rank-00001.safetensors: " in rank["damaged"]["warnings"][0]
