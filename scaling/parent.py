"""One rank's thin parent: point after point, a fresh child that it starts, watches and buries.

Rank 0's parent decides what runs next; all parents agree on how a point ended before the next one begins.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from scaling.agreement import POLL_SECONDS, Agreement, PeerLost
from scaling.ancestry import Ancestry
from scaling.assignment import Assignment, Outcome, joint_outcome
from scaling.bookkeeping import Bookkeeper, Order
from scaling.children import FAILED_TOGETHER_SECONDS, Child, start_server
from scaling.lease import LeaseLost
from scaling.placement import usable_cpus
from scaling.plan import Plan
from scaling.points import RunPoint
from scaling.ranks import Rank
from scaling.records import RunDirectory
from scaling.residue import claim_scratch, remove_orphans, remove_point

SCRATCH_SECONDS = 60.0  # for the first rank of a machine to make a folder


class Terminated(Exception):
    """This process was asked to stop, or lost its launcher, another rank's parent, or its lease."""


class Parent:
    """One rank's parent of all points."""

    def __init__(
        self,
        points: Sequence[RunPoint],
        plan: Plan,
        folder: Path,
        rank: Rank,
        *,
        accelerator: str,
        retry_failed: bool,
    ) -> None:
        self._points = points
        self._costs = {planned.point.run_id: planned.cost for planned in plan.points}
        self._folder = folder
        self._rank = rank
        self._accelerator = accelerator
        self._temporary = Path(tempfile.gettempdir())
        share = max(1, usable_cpus() // rank.local_num_ranks)
        self._num_threads = int(os.environ.get("OMP_NUM_THREADS") or share)
        self._ancestry = Ancestry()
        self._agreement = Agreement(rank)
        if rank.is_local_leader:
            remove_orphans(self._temporary)
        self._books = Bookkeeper(folder, len(points), retry_failed=retry_failed) if rank.is_main else None

    def run(self) -> int:
        """Train every pending point; exit status 0 if all of them are done now, else 1."""
        num_done = 0
        for index, point in enumerate(self._points):
            order = self._agree_on_order(index, point)
            num_done += self._train(index, point, order).is_good if order.is_run else order.is_done
        if self._books is not None:
            print(f"{num_done} of {len(self._points)} points done; runs in {self._folder}", flush=True)
        self._agreement.finish()
        return int(num_done < len(self._points))

    def _agree_on_order(self, index: int, point: RunPoint) -> Order:
        key = f"order/{index}"
        try:
            if self._books is not None:
                self._agreement.publish(key, dataclasses.asdict(self._books.decide(index, point)))
            return Order(**self._agreement.wait(key, while_waiting=self._check_launcher))
        except PeerLost as error:
            raise Terminated(str(error)) from error

    def _train(self, index: int, point: RunPoint, order: Order) -> Outcome:
        """How the point ended on all ranks together."""
        assignment = self._assignment(point, order)
        self._make_scratch(assignment)
        start_server(assignment.environment())
        start = time.monotonic()
        child = Child(assignment)
        try:
            self._publish(index, self._watch(index, child))
            outcome = self._joint_outcome(index)
        except (Terminated, PeerLost, LeaseLost) as error:
            child.stop()
            self._clean(assignment)
            if self._books is not None and not isinstance(error, LeaseLost):
                killed = Outcome(state="killed", reason=str(error), at=time.time())
                self._books.close(index, point, killed, time.monotonic() - start)
            raise Terminated(str(error)) from error
        self._clean(assignment)
        outcome = self._with_record(point, outcome)
        if self._books is not None:
            self._books.close(index, point, outcome, time.monotonic() - start)
        return outcome

    def _assignment(self, point: RunPoint, order: Order) -> Assignment:
        return Assignment(
            point=point.model_dump_json(),
            planned=self._costs[point.run_id].model_dump_json(),
            run_folder=(self._folder / point.run_id).absolute(),
            rank=self._rank,
            port=order.port,
            scratch=self._temporary / order.scratch,
            accelerator=self._accelerator,
            num_threads=self._num_threads,
            attempt=order.attempt,
            lease_token=order.lease_token,
            micro_batch=point.placement.micro_batch,
        )

    def _make_scratch(self, assignment: Assignment) -> None:
        """The point's temporary folder on this machine, before any of its ranks here goes on."""
        if self._rank.is_local_leader:
            claim_scratch(assignment.scratch, assignment.port)
        deadline = time.monotonic() + SCRATCH_SECONDS
        while not assignment.scratch.exists():
            self._check_launcher()
            if time.monotonic() > deadline:
                raise Terminated(f"{assignment.scratch} was not made by this machine's first rank")
            time.sleep(POLL_SECONDS)

    def _watch(self, index: int, child: Child) -> Outcome:
        """How this rank's child ended; it is stopped when another rank's child failed."""
        deadline = None
        while (outcome := child.poll()) is None:
            self._check_launcher()
            if self._books is not None:
                self._books.renew_lease()
            if deadline is None and self._agreement.peek(f"failed/{index}") is not None:
                deadline = time.monotonic() + FAILED_TOGETHER_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                return child.stop()
            time.sleep(POLL_SECONDS)
        return outcome

    def _publish(self, index: int, outcome: Outcome) -> None:
        self._agreement.publish(f"outcome/{index}/{self._rank.rank}", dataclasses.asdict(outcome))
        if not outcome.is_good:
            self._agreement.publish(f"failed/{index}", True)

    def _joint_outcome(self, index: int) -> Outcome:
        keys = [f"outcome/{index}/{other}" for other in range(self._rank.num_ranks)]
        messages = [self._agreement.wait(key, while_waiting=self._check_launcher) for key in keys]
        return joint_outcome([Outcome(**message) for message in messages])

    def _with_record(self, point: RunPoint, outcome: Outcome) -> Outcome:
        """ "done" needs a record: exit codes prove nothing."""
        if outcome.is_good and RunDirectory(self._folder / point.run_id).read_record() is None:
            return Outcome(state="error", reason="every rank ended well but left no record", at=time.time())
        return outcome

    def _check_launcher(self) -> None:
        if self._ancestry.is_broken():
            raise Terminated("the launcher that started this rank is gone")

    def _clean(self, assignment: Assignment) -> None:
        """Free what the children left on this machine; every rank's outcome is known, so all have ended."""
        if self._rank.is_local_leader:
            remove_point(assignment.scratch, assignment.port)
