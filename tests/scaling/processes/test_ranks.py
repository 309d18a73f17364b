from __future__ import annotations

import pytest

from scaling.processes.ranks import current_rank
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


SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
    "SLURM_STEP_NODELIST": "gpu[007-009,011]",
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "0",
}


def test_slurms_variables_are_understood_without_mpi() -> None:
    rank = current_rank(SLURM)
    assert (rank.rank, rank.num_ranks, rank.local_rank, rank.local_num_ranks) == (5, 7, 1, 2)
    assert rank.master_address == "gpu007"
    last = current_rank({**SLURM, "SLURM_PROCID": "6", "SLURM_LOCALID": "0", "SLURM_NODEID": "3"})
    assert last.local_num_ranks == 1
    assert last.master_port == rank.master_port, "all ranks look for rank 0 at one place"
    assert current_rank({**SLURM, "SLURM_STEP_ID": "1"}).master_port != rank.master_port


@pytest.mark.parametrize(
    "nodes, first",
    [
        ("vm", "vm"),
        ("a,b", "a"),
        ("n[3,5-7]", "n3"),
        ("gpu-1-[2-4],x[1-2]", "gpu-1-2"),
        ("n[08-09]-ib", "n08-ib"),
    ],
)
def test_ranks_meet_at_the_first_node_of_the_step(nodes: str, first: str) -> None:
    assert current_rank({**SLURM, "SLURM_STEP_NODELIST": nodes}).master_address == first


def test_a_launcher_inside_a_slurm_job_decides_and_a_batch_script_is_no_rank() -> None:
    assert current_rank({**SLURM, **DEEPSPEED, "LOCAL_SIZE": "2"}) == current_rank(DEEPSPEED)
    assert current_rank({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "1"}).num_ranks == 1


def test_children_are_told_where_to_meet_by_names_that_torch_reads() -> None:
    told = current_rank(SLURM).environment(port=4321)
    assert told["RANK"] == "5" and told["MASTER_ADDR"] == "gpu007" and told["MASTER_PORT"] == "4321"
