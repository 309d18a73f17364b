"""Rank 0's books: which point runs next, under which lease, and how it ended."""

from __future__ import annotations

import dataclasses
import time
import uuid
from pathlib import Path

from scaling.agreement import free_port
from scaling.assignment import Outcome
from scaling.lease import Lease, check_lease, holder_of
from scaling.points import RunPoint
from scaling.records import FAILURES, RunDirectory, RunRecord, State, Status, WriteError, write_atomically
from scaling.residue import SCRATCH_NAME_HEX, SCRATCH_PREFIX


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What all ranks do about one point."""

    is_run: bool
    is_done: bool = False  # has a record, so need not run
    port: int = 0  # where the point's process group meets
    attempt: int = 0
    lease_token: int = 0
    scratch: str = ""  # name of the point's temporary folder on every machine


class Bookkeeper:
    """Decides, leases, and writes down; used by rank 0 only."""

    def __init__(self, folder: Path, num_points: int, *, retry_failed: bool) -> None:
        self._folder = folder
        self._num_points = num_points
        self._retry_failed = retry_failed
        self._lease: Lease | None = None

    def decide(self, index: int, point: RunPoint) -> Order:
        """Run a point, or say why not: finished, failed before, another launcher's."""
        run = RunDirectory(self._folder / point.run_id)
        status = run.read_status()
        if run.read_record() is not None:
            self._say(index, point, "done already")
            return Order(is_run=False, is_done=True)
        if status.state in FAILURES and not self._retry_failed:
            self._say(
                index, point, f"{status.state} before ({status.reason}); --retry-failed trains it again"
            )
            return Order(is_run=False)
        run.path.mkdir(parents=True, exist_ok=True)
        self._lease = Lease.acquire(run.path)
        if self._lease is None:
            self._say(index, point, f"another launcher is training it ({holder_of(run.path)})")
            return Order(is_run=False)
        return self._begin(index, point, run, status, self._lease.token)

    def _begin(self, index: int, point: RunPoint, run: RunDirectory, status: Status, token: int) -> Order:
        attempt = status.attempts + 1
        write_atomically(run.point, point.model_dump_json(indent=1))
        changes = {
            "state": "running",
            "reason": "",
            "detail": "",
            "attempts": attempt,
            "updated_at": time.time(),
        }
        run.write_status(status.model_copy(update=changes))
        self._say(index, point, "continued" if status.samples_seen else "started")
        return Order(
            is_run=True,
            port=free_port(),
            attempt=attempt,
            lease_token=token,
            scratch=f"{SCRATCH_PREFIX}{uuid.uuid4().hex[:SCRATCH_NAME_HEX]}",
        )

    def renew_lease(self) -> None:
        """Show other launchers that this one lives; raises LeaseLost when superseded."""
        if self._lease is not None:
            self._lease.renew()

    def close(self, index: int, point: RunPoint, outcome: Outcome, seconds: float) -> None:
        """Write down how a point ended, tell the user, and give the run free."""
        assert self._lease is not None
        token = self._lease.token
        run = RunDirectory(self._folder / point.run_id)
        run.check_lease = lambda: check_lease(run.path, token)
        try:
            if not outcome.is_good:
                run.write_status(_failed(run.read_status(), outcome))
            self._lease.release()
        except WriteError as error:  # a full disk: the lease runs out by itself and the next launch continues
            self._say(index, point, f"its end could not be written down: {error}")
        self._lease = None
        self._say(index, point, _ending(run, outcome, seconds))

    def _say(self, index: int, point: RunPoint, message: str) -> None:
        print(f"[{index + 1}/{self._num_points}] {point.run_id}: {message}", flush=True)


def _failed(status: Status, outcome: Outcome) -> Status:
    state: State = "killed" if outcome.state == "stopped" else outcome.state
    changes = {"state": state, "reason": outcome.reason, "detail": outcome.detail, "updated_at": time.time()}
    return status.model_copy(update=changes)


def _ending(run: RunDirectory, outcome: Outcome, seconds: float) -> str:
    record = run.read_record()
    if record is None:
        return f"{outcome.state} after {seconds:.0f} s: {outcome.reason} (see {run.path}/log-rank*.txt)"
    return f"done in {seconds:.0f} s ({record.measured.samples_per_second:,.0f} samples/s): {_scores(record)}"


def _scores(record: RunRecord) -> str:
    """The first metric of every task."""
    firsts = ((evaluation.task, *next(iter(evaluation.metrics.items()))) for evaluation in record.evaluations)
    return ", ".join(f"{task} {metric} {value:.3f}" for task, metric, value in firsts)
