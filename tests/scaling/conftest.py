"""Fixtures of the tests of running: the orders that a rank's child gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.processes.assignment import Assignment
from scaling.processes.ranks import Rank


@pytest.fixture
def assignment_of(tmp_path: Path) -> Callable[[int, int], Assignment]:
    """From (rank, number of ranks, all on this machine) to the first attempt's orders on a CPU."""

    def assignment(rank: int, num_ranks: int) -> Assignment:
        return Assignment(
            point="",
            planned="",
            run_folder=tmp_path,
            rank=Rank(
                rank=rank,
                num_ranks=num_ranks,
                local_rank=rank,
                local_num_ranks=num_ranks,
                master_address="127.0.0.1",
                master_port=29500,
            ),
            port=4001,
            scratch=tmp_path,
            accelerator="cpu",
            num_threads=1,
            attempt=1,
            lease_token=1,
            micro_batch=16,
        )

    return assignment
