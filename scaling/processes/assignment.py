"""What a parent tells its child, and what the child reports at its end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from scaling.processes.ranks import Rank
from scaling.records import State, write_atomically
from scaling.trunks import Branch

EXIT_PREEMPTED = 75  # EX_TEMPFAIL: "run me again"; DeepSpeed's launcher passes exit codes through


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """All that a child is told.  It has the fork server's environment, not its parent's, so nothing is implicit."""

    point: str  # RunPoint as JSON
    planned: str  # records.PlannedCost as JSON
    run_folder: Path
    rank: Rank
    port: int  # where this point's process group meets; a fresh one per point and attempt
    scratch: Path  # temporary folder of this point on this machine
    accelerator: str  # DeepSpeed's name: "cpu", "cuda", ...
    num_threads: int
    attempt: int
    lease_token: int
    micro_batch: int  # the point's, or smaller where that one ran out of memory
    started_at: float | None = None  # when the parent began, seconds since the epoch; None: with this process
    branches: tuple[Branch, ...] = ()  # other runs of the point's trunk, beside run_folder
    drill: str = ""  # the fault to play in this attempt (scaling.processes.drilled_faults), none in real runs

    def environment(self) -> dict[str, str]:
        """The environment variables that the child sets before it imports torch or DeepSpeed."""
        return {
            **self.rank.environment(self.port),
            "TMPDIR": str(self.scratch),
            "OMP_NUM_THREADS": str(self.num_threads),
            "DS_ACCELERATOR": self.accelerator,
        }


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one rank's child ended."""

    state: State | Literal["stopped"]  # stopped: by its parent, because another rank failed first
    reason: str = ""
    detail: str = ""
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)  # by state, see records.Status
    at: float = 0.0  # seconds since the epoch

    @property
    def is_good(self) -> bool:
        return self.state == "done"


def report_outcome(scratch: Path, rank: int, outcome: Outcome) -> None:
    """Write the outcome of a rank to the file that its parent reads."""
    write_atomically(_outcome_file(scratch, rank), json.dumps(dataclasses.asdict(outcome)))


def read_outcome(scratch: Path, rank: int) -> Outcome | None:
    """The outcome that the child of a rank reported, None if it could not report one."""
    path = _outcome_file(scratch, rank)
    return Outcome(**json.loads(path.read_text())) if path.exists() else None


def _outcome_file(scratch: Path, rank: int) -> Path:
    return scratch / f"outcome-{rank}.json"


SEVERITY = (
    *("killed", "oom", "shard_corrupt", "diverged", "hung"),
    *("error", "preempted", "stopped", "done"),
)
"""States in the order in which they explain those of other ranks.  Errors come after the states that break connections,
because a broken connection is an error on the other ranks."""


def joint_outcome(outcomes: list[Outcome]) -> Outcome:
    """The outcome of a point from those of its ranks: the root cause rather than its consequences on other ranks.

    For example a killed child explains the broken connections that the others report; among equals the earliest counts.
    """
    return min(outcomes, key=lambda outcome: (SEVERITY.index(outcome.state), outcome.at))
