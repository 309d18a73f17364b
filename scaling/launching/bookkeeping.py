"""Rank 0's bookkeeping: which point runs next, under which lease, and how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from scaling.checkpoints.names import steps_in
from scaling.launching.out_of_memory import note_out_of_memory, smaller_micro_batch, starting_micro_batch
from scaling.points import RunPoint
from scaling.processes.assignment import Outcome
from scaling.processes.lease import Lease, LeaseLost, check_lease, holder_of, is_held
from scaling.processes.ranks import free_port
from scaling.processes.residue import SCRATCH_NAME_HEX, SCRATCH_PREFIX
from scaling.records import FAILURES, RunDirectory, RunRecord, State, Status, WriteError, write_atomically
from scaling.train.goodput import note_attempt  # light
from scaling.trunks import Branch
from scaling.units import format_quantity


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What all ranks do next about one point."""

    is_run: bool
    is_done: bool = False  # has a record, so need not run
    is_deferred: bool = False  # to be asked for again: another launcher trains what it branches from
    is_stop: bool = False  # the sweep ends here, to be continued by another launch
    exit_status: int = 0  # of every rank's parent, where it stops
    port: int = 0  # where the point's process group meets
    attempt: int = 0
    micro_batch: int = 0
    lease_token: int = 0
    scratch: str = ""  # name of the point's temporary folder on every machine


class Bookkeeper:
    """Decides what runs, takes leases and records how points ended; used by rank 0 only."""

    def __init__(
        self,
        folder: Path,
        num_points: int,
        *,
        retry_failed: bool,
        branches: Mapping[str, Sequence[Branch]] = MappingProxyType({}),
        holdout: Collection[str] = (),
    ) -> None:
        """`branches` are those of each run, by run id (scaling.trunks.possible_branches).

        Scores of the runs in `holdout` are not told to the user.
        """
        self._folder = folder
        self._branches = branches
        self._holdout = holdout
        self._told_to_wait: set[str] = set()
        self._num_points = num_points
        self._retry_failed = retry_failed
        self._lease: Lease | None = None
        self._micro_batch = 0  # of the running attempt

    def decide(self, index: int, point: RunPoint) -> Order:
        """The order to run a point, or to pass it over: finished, failed before, or run by another launcher."""
        run = RunDirectory(self._folder / point.run_id)
        if (order := self._without_running(index, point, run)) is not None:
            return order
        if (awaited := self._awaited(point, run)) is not None:
            if point.run_id not in self._told_to_wait:
                self._say(index, point, f"waits for {awaited}")
            self._told_to_wait.add(point.run_id)
            return Order(is_run=False, is_deferred=True)
        run.path.mkdir(parents=True, exist_ok=True)
        self._lease = Lease.acquire(run.path)
        if self._lease is None:
            self._say(index, point, f"another launcher is training it ({holder_of(run.path)})")
            return Order(is_run=False)
        if (order := self._without_running(index, point, run)) is not None:
            self._lease.release()  # another launcher finished it between our first look and our lease
            self._lease = None
            return order
        return self._begin(index, point, run, starting_micro_batch(run.path, point))

    def _without_running(self, index: int, point: RunPoint, run: RunDirectory) -> Order | None:
        """What to do about a point that is not to run, None if it is."""
        try:
            record, status = run.read_record(), run.read_status()
        except ValueError as error:  # the other runs go on
            self._say(index, point, f"left out: {error}")
            return Order(is_run=False)
        if record is not None:
            self._say(index, point, "done already")
            return Order(is_run=False, is_done=True)
        if status.state in FAILURES and not self._retry_failed:
            self._say(
                index, point, f"{status.state} before ({status.reason}); --retry-failed trains it again"
            )
            return Order(is_run=False)
        return None

    def _awaited(self, point: RunPoint, run: RunDirectory) -> str | None:
        """What the point will branch from once another launcher has trained as far, instead of doing so too."""
        if steps_in(run.checkpoints):
            return None
        for branch in self._branches.get(point.run_id, ()):
            other = RunDirectory(self._folder / branch.run_id)
            if branch.steps in steps_in(other.checkpoints):
                return None
            if branch.is_kept and is_held(other.path):
                samples = format_quantity(branch.steps * point.science.global_batch)
                return f"{branch.run_id}, which another launcher trains, to have seen {samples} samples"
        return None

    def _begin(self, index: int, point: RunPoint, run: RunDirectory, micro_batch: int) -> Order:
        assert self._lease is not None
        status = run.read_status()
        attempt = status.attempts + 1
        write_atomically(run.point, point.model_dump_json(indent=1))
        cleared = Status(state="running", attempts=attempt)
        changes = {
            name: getattr(cleared, name) for name in ("state", "reason", "detail", "facts", "attempts")
        }
        run.write_status(status.model_copy(update={**changes, "updated_at": cleared.updated_at}))
        size = "" if micro_batch == point.placement.micro_batch else f" with micro_batch {micro_batch:,}"
        self._say(index, point, ("continued" if status.samples_seen else "started") + size)
        self._micro_batch = micro_batch
        return Order(
            is_run=True,
            port=free_port(),
            attempt=attempt,
            micro_batch=micro_batch,
            lease_token=self._lease.token,
            scratch=f"{SCRATCH_PREFIX}{uuid.uuid4().hex[:SCRATCH_NAME_HEX]}",
        )

    def renew_lease(self) -> None:
        """Show other launchers that this one lives; raises LeaseLost when superseded."""
        if self._lease is not None:
            self._lease.renew()

    def close(
        self, index: int, point: RunPoint, outcome: Outcome, seconds: float, *, is_last: bool = False
    ) -> Order:
        """Write down how an attempt ended and tell the user.

        A point that ran out of memory runs again with a smaller micro-batch, unless this launch ends (`is_last`).  The
        lease on any other point is released.
        """
        assert self._lease is not None
        token = self._lease.token
        run = RunDirectory(self._folder / point.run_id)
        run.check_lease = lambda: check_lease(run.path, token)
        try:
            if not outcome.is_good:
                run.check_lease()
                note_attempt(run.path, run.read_status().attempts, seconds)
            if outcome.state == "oom" and (smaller := self._after_oom(point, run, outcome)):
                tried = f"out of memory after {seconds:.0f} s with micro_batch {self._micro_batch:,}"
                if not is_last:
                    self._say(index, point, tried)
                    return self._begin(index, point, run, smaller)
                outcome = dataclasses.replace(outcome, state="preempted", reason=tried)
            if not outcome.is_good:
                run.write_status(_failed(run.read_status(), outcome))
            self._lease.release()
        except (WriteError, LeaseLost) as error:  # a lease that cannot be released on a full disk expires
            self._say(index, point, f"its end could not be written down: {error}")
        self._lease = None
        self._say(index, point, _ending(run, outcome, seconds, is_sealed=point.run_id in self._holdout))
        return Order(is_run=False, is_done=outcome.is_good)

    def _after_oom(self, point: RunPoint, run: RunDirectory, outcome: Outcome) -> int | None:
        """The micro-batch to try next, if there is a smaller one; what failed is remembered."""
        run.check_lease()
        note_out_of_memory(run.path, point, self._micro_batch, outcome.facts)
        return smaller_micro_batch(point.science, point.placement.num_ranks, self._micro_batch)

    def _say(self, index: int, point: RunPoint, message: str) -> None:
        say(f"[{index + 1}/{self._num_points}] {point.run_id}: {message}")


def say(message: str) -> None:
    """Print for the user; ignores a closed pipe, as the launcher may be gone while ranks write checkpoints."""
    with contextlib.suppress(BrokenPipeError):
        print(message, flush=True)


def _failed(status: Status, outcome: Outcome) -> Status:
    state: State = "killed" if outcome.state == "stopped" else outcome.state
    reason = outcome.reason
    if state == "oom":
        reason += (
            "; no smaller micro_batch fits the batch: use activation_checkpointing, offload or more ranks"
        )
    changes = {"reason": reason, "detail": outcome.detail, "facts": outcome.facts, "updated_at": time.time()}
    return status.model_copy(update={"state": state, **changes})


def _ending(run: RunDirectory, outcome: Outcome, seconds: float, *, is_sealed: bool) -> str:
    record = run.read_record() if outcome.is_good else None  # where this launch lost its lease, another's
    if record is None:
        return f"{outcome.state} after {seconds:.0f} s: {outcome.reason} (see {run.path}/log-rank*.txt)"
    scores = "its scores are sealed" if is_sealed else _scores(record)
    return f"done in {seconds:.0f} s ({record.measured.samples_per_second:,.0f} samples/s): {scores}"


def _scores(record: RunRecord) -> str:
    """The first metric of every task."""
    firsts = ((evaluation.task, *next(iter(evaluation.metrics.items()))) for evaluation in record.evaluations)
    return ", ".join(f"{task} {metric} {value:.3f}" for task, metric, value in firsts)
