"""One fresh process per rank and point, forked from a server that has the heavy imports loaded.

A point can crash, hang or leak without touching the next one; the parent that starts and watches it stays thin.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scaling.ranks import Rank
from scaling.records import State, write_atomically

CHILD_MODULE = "scaling.train.child"
EXIT_PREEMPTED = 75  # EX_TEMPFAIL: "run me again"; DeepSpeed's launcher passes exit codes through
STOP_GRACE_SECONDS = 10.0
FAILED_TOGETHER_SECONDS = 20.0
"""How long the other ranks get to say what went wrong themselves, once one rank's child has died."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """All that a child is told. It inherits the server's environment, not its parent's, so nothing is implied."""

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

    def environment(self) -> dict[str, str]:
        """The environment variables that the child sets before it imports anything heavy."""
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
    at: float = 0.0  # seconds since the epoch

    @property
    def is_good(self) -> bool:
        return self.state == "done"


def outcome_file(scratch: Path, rank: int) -> Path:
    """Where a child says how it ended, for its parent."""
    return scratch / f"outcome-{rank}.json"


def report_outcome(scratch: Path, rank: int, outcome: Outcome) -> None:
    write_atomically(outcome_file(scratch, rank), json.dumps(dataclasses.asdict(outcome)))


def start_server(environment: Mapping[str, str]) -> None:
    """Start this rank's fork server unless it runs; `environment` is what its preloaded imports may need to see.

    DS_ACCELERATOR in particular: without it, importing DeepSpeed counts CUDA devices, after which every forked
    child is unable to use CUDA (torch.cuda._is_in_bad_fork), which no CPU machine would show. DeepSpeed compiles
    its CPU operators with the ninja of this Python, which is on the PATH only of activated environments.
    """
    programs = str(Path(sys.executable).parent)
    if programs not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = programs + os.pathsep + os.environ["PATH"]
    os.environ.update({name: environment[name] for name in ("DS_ACCELERATOR", "OMP_NUM_THREADS")})
    multiprocessing.get_context("forkserver").set_forkserver_preload([CHILD_MODULE])
    multiprocessing.forkserver.ensure_running()


class Child:
    """The child of this rank for one point."""

    def __init__(self, assignment: Assignment) -> None:
        from scaling.train.entry import run_child  # light: the heavy module is imported by the fork server

        self._assignment = assignment
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=run_child, args=(assignment,), daemon=False)
        self._process.start()
        self._was_stopped = False

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> Outcome | None:
        """How the child ended, None while it runs."""
        code = self._process.exitcode
        return None if code is None else self._outcome(code)

    def stop(self) -> Outcome:
        """End the child, politely first."""
        self._was_stopped = self._process.is_alive()
        self._process.terminate()
        self._process.join(STOP_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        outcome = self.poll()
        assert outcome is not None
        return outcome

    def _outcome(self, code: int) -> Outcome:
        said = outcome_file(self._assignment.scratch, self._assignment.rank.rank)
        if said.exists():
            return Outcome(**json.loads(said.read_text()))
        if self._was_stopped:
            return Outcome(state="stopped", reason="stopped with the other ranks", at=time.time())
        if code < 0:
            name = signal.Signals(-code).name
            return Outcome(
                state="killed", reason=f"rank {self._assignment.rank.rank} got {name}", at=time.time()
            )
        reason = f"rank {self._assignment.rank.rank} exited with code {code} without saying why"
        return Outcome(state="error", reason=reason, at=time.time())


SEVERITY = ("killed", "oom", "diverged", "error", "preempted", "stopped", "done")


def joint_outcome(outcomes: list[Outcome]) -> Outcome:
    """The outcome of a point from those of its ranks: the root cause, not the ranks that fell over it.

    A killed child explains the broken connections that the others report; among equals the earliest counts.
    """
    return min(outcomes, key=lambda outcome: (SEVERITY.index(outcome.state), outcome.at))
