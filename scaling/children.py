"""One fresh process per rank and point, forked from a server that has the heavy imports loaded.

A point can crash, hang or leak without touching the next one; the parent that starts and watches it stays thin.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from scaling.assignment import Assignment, Outcome, read_outcome
from scaling.train.entry import run_child  # light: the fork server imports the heavy module

CHILD_MODULE = "scaling.train.child"
STOP_GRACE_SECONDS = 10.0
FAILED_TOGETHER_SECONDS = 20.0
"""How long the other ranks get to say what went wrong themselves, once one rank's child has died."""


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
        rank = self._assignment.rank.rank
        said = read_outcome(self._assignment.scratch, rank)
        if said is not None:
            return said
        if self._was_stopped:
            return Outcome(state="stopped", reason="stopped with the other ranks", at=time.time())
        if code < 0:
            name = signal.Signals(-code).name
            return Outcome(state="killed", reason=f"rank {rank} got {name}", at=time.time())
        reason = f"rank {rank} exited with code {code} without saying why"
        return Outcome(state="error", reason=reason, at=time.time())
