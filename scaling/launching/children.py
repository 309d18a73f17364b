"""One fresh process per rank and point, forked from a server that has the heavy imports loaded.

A point can crash, hang or leak without touching the next one; the parent that starts and watches it stays thin.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from pathlib import Path

from scaling.launching.stop_request import STOP_SIGNALS
from scaling.processes.assignment import Assignment, Outcome, read_outcome
from scaling.processes.orphans import signal_at_parents_death
from scaling.train.entry import run_child  # light: the fork server imports the heavy module

CHILD_MODULE = "scaling.train.child"
KILL_SECONDS = 60.0  # after SIGKILL; a process that a driver holds up may live on
REPEAT_SECONDS = 1.0  # between two requests to stop: one that comes before the child listens is lost
SERVER_DIED = 255  # exit code that multiprocessing gives a child whose fork server is gone


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
    with _stop_signals_ignored():
        resource_tracker.ensure_running()
        multiprocessing.forkserver.ensure_running()


@contextlib.contextmanager
def _stop_signals_ignored() -> Iterator[None]:
    """A context in which started programs ignore signals to stop, also those to a whole process tree or Slurm step.

    The fork server must survive them: without it, a child that still writes its checkpoint would look dead.
    """
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class Child:
    """The child of this rank for one point."""

    def __init__(self, assignment: Assignment, run: Callable[[Assignment], None] = run_child) -> None:
        self._assignment = assignment
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_begin, args=(run, assignment), daemon=False)
        self._process.start()
        self._was_stopped = False
        self._asked_at = -REPEAT_SECONDS

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> Outcome | None:
        """How the child ended, None while it runs."""
        code = self._process.exitcode
        return None if code is None else self._outcome(code)

    def preempt(self) -> None:
        """Ask the child to write a checkpoint and to end; to be repeated until it has."""
        if time.monotonic() - self._asked_at >= REPEAT_SECONDS:
            self._send(signal.SIGTERM)
            self._asked_at = time.monotonic()

    def dump_stacks(self) -> None:
        """Make the child write where each of its threads is to its log (faulthandler)."""
        self._send(signal.SIGQUIT)
        self._send(signal.SIGCONT)  # a suspended one could not

    def stop(self) -> Outcome:
        """End the child and what it started at once; how it ended if it has already."""
        if self._process.exitcode is None:
            self._was_stopped = True
            self._kill()
            self._process.join(KILL_SECONDS)
        outcome = self.poll()
        if outcome is None:
            reason = f"rank {self._assignment.rank.rank}, process {self.pid}, survives SIGKILL"
            return Outcome(state="killed", reason=reason, at=time.time())
        return outcome

    def _kill(self) -> None:
        assert self.pid is not None
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # not a group of its own yet
            self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        assert self.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

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
        if code == SERVER_DIED:
            return Outcome(state="killed", reason=f"rank {rank} lost its fork server", at=time.time())
        reason = f"rank {rank} exited with code {code} without saying why"
        return Outcome(state="error", reason=reason, at=time.time())


def _begin(run: Callable[[Assignment], None], assignment: Assignment) -> None:
    """The child's first steps: a process group of its own, which can be killed as a whole, and an end with its server.

    The server ends when nobody holds a certain pipe any more; children let go of it here, so that the parent is the
    last to hold it.  The kernel then signals the child.  A thread in the child that watches the parent could not run
    while a hung call holds Python's lock.
    """
    os.setpgid(0, 0)
    signal_at_parents_death(signal.SIGKILL)
    os.close(multiprocessing.forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    run(assignment)
