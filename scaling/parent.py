"""One rank's thin parent: point after point, a fresh child that it starts, watches and buries.

Rank 0's parent decides what runs next; all parents agree on how a point ended before the next one begins.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.agreement import POLL_SECONDS, Agreement, PeerLost, free_port
from scaling.ancestry import Ancestry
from scaling.children import FAILED_TOGETHER_SECONDS, Assignment, Child, Outcome, joint_outcome, start_server
from scaling.lease import Lease, check_lease, holder_of
from scaling.placement import usable_cpus
from scaling.plan import Plan
from scaling.points import RunPoint
from scaling.ranks import Rank
from scaling.records import FAILURES, RunDirectory, Status, write_atomically
from scaling.residue import remove_allreduce_buffers, remove_scratch, remove_streaming_segments


class Terminated(Exception):
    """This process was asked to stop, or lost its launcher."""


class Launcher:
    """One rank's parent, point after point."""

    def __init__(
        self, points: Sequence[RunPoint], plan: Plan, folder: Path, rank: Rank, *, accelerator: str, retry_failed: bool
    ) -> None:
        self._points = points
        self._costs = {planned.point.run_id: planned.cost for planned in plan.points}
        self._folder = folder
        self._retry_failed = retry_failed
        self._rank = rank
        self._ancestry = Ancestry()
        self._temporary = Path(tempfile.gettempdir())
        self._accelerator = accelerator
        self._num_threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, usable_cpus() // rank.local_num_ranks))
        self._lease: Lease | None = None
        self._agreement = Agreement(rank)
        start_server({"DS_ACCELERATOR": self._accelerator, "OMP_NUM_THREADS": str(self._num_threads)})

    def run(self) -> int:
        """Train every pending point; exit status 0 if all of them are done now."""
        bad = 0
        for index, point in enumerate(self._points):
            order = self._agree_on_order(index, point)
            if order["run"]:
                outcome = self._run(index, point, order)
                bad += not outcome.is_good
            else:
                bad += order["counts_as_failed"]
        if self._rank.is_main:
            self._say(f"{len(self._points) - bad} of {len(self._points)} points done; runs in {self._folder}")
        self._agreement.finish()
        return int(bad > 0)

    def _say(self, message: str) -> None:
        if self._rank.is_main:
            print(message, flush=True)

    # ---- what runs next: rank 0 decides, all ranks follow

    def _agree_on_order(self, index: int, point: RunPoint) -> dict[str, Any]:
        key = f"order/{index}"
        if self._rank.is_main:
            self._agreement.publish(key, self._decide(index, point))
        order: dict[str, Any] = self._agreement.wait(key, while_waiting=self._check_launcher)
        return order

    def _decide(self, index: int, point: RunPoint) -> dict[str, Any]:
        head = f"[{index + 1}/{len(self._points)}] {point.run_id}"
        run = RunDirectory(self._folder / point.run_id)
        status = run.read_status()
        if run.read_record() is not None:
            self._say(f"{head}: done already")
            return {"run": False, "counts_as_failed": False}
        if status.state in FAILURES and not self._retry_failed:
            self._say(f"{head}: {status.state} before ({status.reason}); train it again with --retry-failed")
            return {"run": False, "counts_as_failed": True}
        run.path.mkdir(parents=True, exist_ok=True)
        self._lease = Lease.acquire(run.path)
        if self._lease is None:
            self._say(f"{head}: another launcher is training it ({holder_of(run.path)})")
            return {"run": False, "counts_as_failed": False}
        token = self._lease.token
        run = RunDirectory(run.path, lambda: check_lease(run.path, token))
        write_atomically(run.point, point.model_dump_json(indent=1))
        attempt = status.attempts + 1
        run.write_status(status.model_copy(update={"state": "running", "attempts": attempt, "updated_at": time.time()}))
        self._say(f"{head}: " + ("started" if status.samples_seen == 0 else "continued"))
        scratch = f"scaling-{os.getpid()}-{index}"
        return {"run": True, "port": free_port(), "attempt": attempt, "token": token, "scratch": scratch}

    # ---- one point

    def _run(self, index: int, point: RunPoint, order: dict[str, Any]) -> Outcome:
        assignment = self._assignment(point, order)
        assignment.scratch.mkdir(exist_ok=True)
        start = time.monotonic()
        child = Child(assignment)
        try:
            self._publish_outcome(index, self._watch(index, child))
            outcome = self._joint_outcome(index)
        except (Terminated, PeerLost) as error:
            child.stop()
            self._clean(assignment)
            self._close(point, Outcome(state="killed", reason=str(error), at=time.time()), order)
            raise Terminated(str(error)) from error
        self._clean(assignment)
        outcome = self._close(point, outcome, order)
        self._tell(index, point, outcome, time.monotonic() - start)
        return outcome

    def _assignment(self, point: RunPoint, order: dict[str, Any]) -> Assignment:
        return Assignment(
            point=point.model_dump_json(),
            planned=self._costs[point.run_id].model_dump_json(),
            run_folder=(self._folder / point.run_id).absolute(),
            rank=self._rank,
            port=order["port"],
            scratch=self._temporary / order["scratch"],
            accelerator=self._accelerator,
            num_threads=self._num_threads,
            attempt=order["attempt"],
            lease_token=order["token"],
        )

    def _watch(self, index: int, child: Child) -> Outcome:
        """How this rank's child ended; it is stopped when another rank's child failed."""
        deadline = None
        while (outcome := child.poll()) is None:
            self._check_launcher()
            if self._lease is not None:
                self._lease.renew()
            if deadline is None and self._agreement.peek(f"failed/{index}") is not None:
                deadline = time.monotonic() + FAILED_TOGETHER_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                return child.stop()
            time.sleep(POLL_SECONDS)
        return outcome

    def _publish_outcome(self, index: int, outcome: Outcome) -> None:
        message = {"state": outcome.state, "reason": outcome.reason, "detail": outcome.detail, "at": outcome.at}
        self._agreement.publish(f"outcome/{index}/{self._rank.rank}", message)
        if not outcome.is_good:
            self._agreement.publish(f"failed/{index}", True)

    def _joint_outcome(self, index: int) -> Outcome:
        """The outcome of all ranks, the same on each."""
        return joint_outcome(
            [
                Outcome(**self._agreement.wait(f"outcome/{index}/{other}", while_waiting=self._check_launcher))
                for other in range(self._rank.num_ranks)
            ]
        )

    def _check_launcher(self) -> None:
        if self._ancestry.is_broken():
            raise Terminated("the launcher that started this rank is gone")

    def _clean(self, assignment: Assignment) -> None:
        """Free what the children left on this machine; all of them have ended."""
        if not self._rank.is_local_leader:
            return
        remove_allreduce_buffers(assignment.port)
        remove_streaming_segments(assignment.scratch)
        remove_scratch(assignment.scratch)

    def _close(self, point: RunPoint, outcome: Outcome, order: dict[str, Any]) -> Outcome:
        """Write down how the point ended; "done" needs a record, exit codes prove nothing."""
        run = RunDirectory(self._folder / point.run_id, lambda: check_lease(run.path, order["token"]))
        if outcome.is_good and run.read_record() is None:
            outcome = Outcome(state="error", reason="every rank ended well but left no record", at=time.time())
        if not self._rank.is_main:
            return outcome
        if not outcome.is_good:
            state = "killed" if outcome.state == "stopped" else outcome.state
            status = run.read_status()
            run.write_status(
                Status(
                    **{
                        **status.model_dump(exclude={"updated_at"}),
                        "state": state,
                        "reason": outcome.reason,
                        "detail": outcome.detail,
                    }
                )
            )
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        return outcome

    def _tell(self, index: int, point: RunPoint, outcome: Outcome, seconds: float) -> None:
        head = f"[{index + 1}/{len(self._points)}] {point.run_id}"
        run = RunDirectory(self._folder / point.run_id)
        record = run.read_record()
        if record is None:
            self._say(f"{head}: {outcome.state} after {seconds:.0f} s: {outcome.reason} (log: {run.path}/log-rank*.txt)")
            return
        scores = ", ".join(
            f"{evaluation.task} {name} {value:.3f}"
            for evaluation in record.evaluations
            for name, value in list(evaluation.metrics.items())[:1]
        )
        self._say(f"{head}: done in {seconds:.0f} s ({record.measured.samples_per_second:.0f} samples/s); {scores}")
