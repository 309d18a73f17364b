from __future__ import annotations

import pytest

from scaling.ranks import current_rank
from scaling.spec import SweepError

DEEPSPEED = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}


def test_children_get_the_local_world_size_that_deepspeed_leaves_out() -> None:
    environment = current_rank(DEEPSPEED).environment(port=1234)
    assert environment["LOCAL_WORLD_SIZE"] == "2"
    assert environment["MASTER_PORT"] == "1234", "every point meets at a port of its own"


def test_torchruns_variables_are_understood_too() -> None:
    torchrun = {**DEEPSPEED, "LOCAL_WORLD_SIZE": "2"}
    del torchrun["LOCAL_SIZE"]
    assert current_rank(torchrun) == current_rank(DEEPSPEED)


def test_without_a_launcher_there_is_one_rank() -> None:
    rank = current_rank({})
    assert (rank.rank, rank.num_ranks, rank.is_main, rank.is_local_leader) == (0, 1, True, True)


def test_several_ranks_of_unknown_whereabouts_are_refused() -> None:
    with pytest.raises(SweepError, match="LOCAL_WORLD_SIZE"):
        current_rank({"RANK": "0", "WORLD_SIZE": "2"})
