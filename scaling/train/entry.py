"""The first function that a child runs: sets up the process before anything heavy is imported."""

from __future__ import annotations

import faulthandler
import functools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from typing import NoReturn

from scaling.processes.assignment import EXIT_PREEMPTED, Assignment, Outcome, report_outcome
from scaling.processes.orphans import end_with_parent
from scaling.train.preemption import Preemption

STDERR = 2


def run_child(assignment: Assignment) -> None:
    """Train one rank of one point in this fresh process; the outcome goes to a file, the log to the run."""
    preemption = Preemption(functools.partial(_end_as_preempted, assignment))
    preemption.listen()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which passes it on
    faulthandler.register(signal.SIGQUIT, file=STDERR)  # writes every thread's stack to the log and continues
    settle_in(assignment)

    from scaling.train.child import run_assignment

    _end(assignment, run_assignment(assignment, preemption))


def settle_in(assignment: Assignment) -> None:
    """Make this fresh process the rank it was assigned: environment, log, shared memory, how it starts others."""
    end_with_parent()
    os.environ.update(assignment.environment())
    tempfile.tempdir = None  # forget the server's choice: TMPDIR counts
    _log_to(assignment)
    _leave_shared_memory_to_parent()
    # A child of a fork server starts processes the fork server's way too. Loader workers cannot be started so, and
    # streaming's events would leave named semaphores; "fork" is what both are made for.
    multiprocessing.set_start_method("fork", force=True)


def _end_as_preempted(assignment: Assignment, reason: str) -> None:
    _end(assignment, Outcome(state="preempted", reason=f"{reason} while not training", at=time.time()))


def _end(assignment: Assignment, outcome: Outcome) -> NoReturn:
    """Leave the outcome and end this process, from whichever thread."""
    report_outcome(assignment.scratch, assignment.rank.rank, outcome)
    sys.stdout.flush()
    sys.stderr.flush()
    code = {"done": 0, "preempted": EXIT_PREEMPTED}.get(outcome.state, 1)
    os._exit(code)  # a failed collective may leave threads that would never let the interpreter end


def _log_to(assignment: Assignment) -> None:
    assignment.run_folder.mkdir(parents=True, exist_ok=True)  # rank 0's may not show on this machine yet
    path = assignment.run_folder / f"log-rank{assignment.rank.rank}.txt"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    told = " ".join(f"{name}={os.environ[name]}" for name in assignment.environment())
    print(f"--- attempt {assignment.attempt}, process {os.getpid()}, {stamp}, {told}", flush=True)


def _leave_shared_memory_to_parent() -> None:
    """Keep shared memory off Python's resource tracker, which outlives this process together with its parent.

    At the parent's end it would unlink every name it was told of, whoever has that name by then: another job, as
    streaming numbers its segments from zero. The parent removes the segments of its children itself, by inode.
    """
    for name in ("register", "unregister"):
        original = getattr(resource_tracker, name)

        def unless_shared_memory(
            segment: str, kind: str, original: Callable[[str, str], None] = original
        ) -> None:
            if kind != "shared_memory":
                original(segment, kind)

        setattr(resource_tracker, name, unless_shared_memory)
