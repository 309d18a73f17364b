"""Which rank this process is, read once from the launcher's environment, and handed on as a value."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from scaling.spec import SweepError


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

        DeepSpeed's launcher sets LOCAL_SIZE but not LOCAL_WORLD_SIZE, without which streaming takes every
        rank for a machine of its own and dies with FileExistsError (mosaicml/streaming#717).
        """
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.num_ranks),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_num_ranks),
            "LOCAL_SIZE": str(self.local_num_ranks),
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": str(port),
        }


def current_rank(environment: Mapping[str, str] = os.environ) -> Rank:
    """The rank that the launcher (deepspeed or torchrun) gave this process; a single rank without a launcher.

    Raises SweepError if the launcher says that there are several ranks but not how many of them are here.
    """
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
