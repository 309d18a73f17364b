"""Which rank this process is, read once from the launcher's environment, and handed on as a value."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
from collections.abc import Mapping

from scaling.sweep.sweep_file import SweepError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rank:
    """One rank among all, and where rank 0 listens."""

    rank: int
    num_ranks: int
    local_rank: int
    local_num_ranks: int
    master_address: str
    master_port: int

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def is_local_leader(self) -> bool:
        """Whether this is the first rank of its machine."""
        return self.local_rank == 0

    def environment(self, port: int) -> dict[str, str]:
        """What torch, DeepSpeed and streaming read in a child of this rank whose group meets at `port`.

        DeepSpeed's launcher sets LOCAL_SIZE but not LOCAL_WORLD_SIZE, without which streaming takes every rank for a
        machine of its own and dies with FileExistsError (mosaicml/streaming#717).  TORCHELASTIC_USE_AGENT_STORE would
        make rank 0 wait for the store of torchrun's agent, which listens at the launch's port, not at this one.
        """
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.num_ranks),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_num_ranks),
            "LOCAL_SIZE": str(self.local_num_ranks),
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "False",
        }


def current_rank(environment: Mapping[str, str] = os.environ) -> Rank:
    """The rank that the launcher (deepspeed, torchrun or srun) gave this process; a single rank without a launcher.

    Raises SweepError if the launcher says that there are several ranks but not how many of them are here.
    """
    if "RANK" not in environment and "SLURM_STEP_NUM_TASKS" in environment:
        return _slurm_rank(environment)
    num_ranks = int(environment.get("WORLD_SIZE", "1"))
    local = environment.get("LOCAL_WORLD_SIZE") or environment.get("LOCAL_SIZE")
    if num_ranks > 1 and local is None:
        raise SweepError(
            f"WORLD_SIZE is {num_ranks} but neither LOCAL_WORLD_SIZE nor LOCAL_SIZE is set: the data order depends "
            "on how many ranks share a machine. Start with deepspeed or torchrun, or export LOCAL_WORLD_SIZE."
        )
    return Rank(
        rank=int(environment.get("RANK", "0")),
        num_ranks=num_ranks,
        local_rank=int(environment.get("LOCAL_RANK", "0")),
        local_num_ranks=int(local or "1"),
        master_address=environment.get("MASTER_ADDR", "127.0.0.1"),
        master_port=int(environment.get("MASTER_PORT", "0")),
    )


SLURM_PORTS = range(10_000, 30_000)  # below Linux's ports for outgoing connections, 32,768 and up


def _slurm_rank(environment: Mapping[str, str]) -> Rank:
    """The rank that srun gave this process; rank 0 runs on the step's first node.

    Read from the variables of a Slurm step: those of the job are set in a batch script too, which is no rank.
    """
    tasks = _tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])
    step = int(environment["SLURM_JOB_ID"]) + int(environment["SLURM_STEP_ID"])
    return Rank(
        rank=int(environment["SLURM_PROCID"]),
        num_ranks=int(environment["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environment["SLURM_LOCALID"]),
        local_num_ranks=tasks[int(environment["SLURM_NODEID"])],
        master_address=_first_host(environment["SLURM_STEP_NODELIST"]),
        master_port=SLURM_PORTS[step % len(SLURM_PORTS)],
    )


def _tasks_per_node(told: str) -> list[int]:
    """The tasks of every node from Slurm's "2(x3),1"."""
    counts = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in told.split(",")]
    if not all(counts):
        raise SweepError(f"SLURM_STEP_TASKS_PER_NODE ({told}) is not of the form 2(x3),1: start with srun.")
    return [int(found[1]) for found in counts if found for _ in range(int(found[2] or 1))]


def _first_host(told: str) -> str:
    """The first name of Slurm's "node[003-007,12]-ib,other"."""
    found = re.match(r"([^,\[]+)(?:\[([^],-]+)[^]]*\]([^,\[]*))?", told)
    if found is None:
        raise SweepError(f"SLURM_STEP_NODELIST ({told}) names no node: start with srun.")
    return "".join(part or "" for part in found.groups())


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
