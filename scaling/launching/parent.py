"""One rank's thin parent: starts, watches and ends a fresh child for one point after the other.

Rank 0's parent decides what runs next; all parents agree on how a point ended before the next one begins.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from scaling.launching.agreement import POLL_SECONDS, Agreement, PeerLost
from scaling.launching.attempt import STOP, Attempt, interrupt_key
from scaling.launching.bookkeeping import Bookkeeper, Order, say
from scaling.launching.stop_request import StopRequest, Terminated
from scaling.placement import usable_cpus
from scaling.plan import Plan
from scaling.points import RunPoint
from scaling.processes.assignment import EXIT_PREEMPTED, Assignment, Outcome
from scaling.processes.drilled_faults import fault_of
from scaling.processes.ranks import Rank
from scaling.processes.residue import remove_orphans
from scaling.records import RunDirectory
from scaling.trunks import possible_branches

EXIT_TERMINATED = 143  # 128 + SIGTERM
DEFER_SECONDS = 5.0  # until it is asked again whether a run can branch, when nothing else is left to train


class Parent:
    """One rank's parent of all points."""

    def __init__(
        self,
        points: Sequence[RunPoint],
        plan: Plan,
        folder: Path,
        rank: Rank,
        stop: StopRequest,
        *,
        accelerator: str,
        retry_failed: bool,
        drill: str = "",
    ) -> None:
        self._points = points
        self._costs = {planned.point.run_id: planned.cost for planned in plan.points}
        every = [planned.point for planned in plan.points]
        self._branches = {point.run_id: possible_branches(point, every) for point in points}
        self._folder = folder
        self._rank = rank
        self._stop = stop
        self._accelerator = accelerator
        self._drill = drill
        self._temporary = Path(tempfile.gettempdir())
        share = max(1, usable_cpus() // rank.local_num_ranks)
        self._num_threads = int(os.environ.get("OMP_NUM_THREADS") or share)
        self._agreement = Agreement(rank)
        self._num_attempts = 0  # of this launch, the next one's number
        self._num_orders = 0  # likewise
        if rank.is_local_leader:
            remove_orphans(self._temporary)
        self._books = (
            Bookkeeper(
                folder,
                len(points),
                retry_failed=retry_failed,
                branches=self._branches,
                holdout=plan.holdout,
            )
            if rank.is_main
            else None
        )

    def run(self) -> int:
        """Train every pending point.

        Exit status: 0 if all are done now, 1 if some are not, 75 if asked to stop with nothing lost, 143 if killed.
        """
        self._stop.interrupts = False
        num_done, order = 0, Order(is_run=False)
        waiting = deque(enumerate(self._points))
        num_deferred = 0  # one after the other: when all have been asked in vain, it is time to wait
        while waiting and not order.is_stop:
            index, point = waiting.popleft()
            order = self._first_order(index, point)
            num_deferred = num_deferred + 1 if order.is_deferred else 0
            if order.is_deferred:
                waiting.append((index, point))
            if num_deferred and num_deferred % len(waiting) == 0:
                self._pause()
            while order.is_run:
                order = self._attempt(index, point, order)
            num_done += order.is_done
        return self._leave(num_done, order)

    def _leave(self, num_done: int, order: Order) -> int:
        status = order.exit_status if order.is_stop else 1
        if num_done == len(self._points):
            status = 0
        if self._books is not None:
            say(f"{_last_word(status)}{num_done} of {len(self._points)} points done; runs in {self._folder}")
        self._agreement.finish()
        return status

    def _first_order(self, index: int, point: RunPoint) -> Order:
        def decide(books: Bookkeeper) -> Order:
            if self._agreement.peek(interrupt_key(self._num_attempts)) == STOP:
                return _stopped(is_done=False, exit_status=EXIT_PREEMPTED)
            return books.decide(index, point)

        number, self._num_orders = self._num_orders, self._num_orders + 1
        return self._agree(f"order/{number}", decide)

    def _pause(self) -> None:
        """On rank 0, for which the others wait: let other launchers train on, unless asked to stop."""
        deadline = time.monotonic() + DEFER_SECONDS
        while self._books is not None and not self._stop.reason and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _agree(self, key: str, decide: Callable[[Bookkeeper], Order]) -> Order:
        """What rank 0 decided."""
        try:
            self._pass_on_request()
            if self._books is not None:
                self._agreement.publish(key, dataclasses.asdict(decide(self._books)))
            return Order(**self._agreement.wait(key, while_waiting=self._pass_on_request))
        except PeerLost as error:
            raise Terminated(str(error)) from error

    def _pass_on_request(self) -> None:
        if self._stop.reason:
            self._agreement.publish_first(interrupt_key(self._num_attempts), STOP)

    def _attempt(self, index: int, point: RunPoint, order: Order) -> Order:
        """What follows from how the point ended on all ranks together."""
        number, start = self._num_attempts, time.monotonic()
        self._num_attempts += 1
        attempt = Attempt(
            self._assignment(point, order),
            point.placement,
            self._agreement,
            self._stop,
            number=number,
            renew_lease=lambda: None if self._books is None else self._books.renew_lease(),
        )
        try:
            outcome = self._with_record(point, attempt.run())
        except (Terminated, PeerLost) as error:
            killed = Outcome(state="killed", reason=str(error), at=time.time())
            if self._books is not None:
                self._books.close(index, point, killed, time.monotonic() - start, is_last=True)
            raise Terminated(str(error)) from error

        def close(books: Bookkeeper) -> Order:
            seconds = time.monotonic() - start
            following = books.close(index, point, outcome, seconds, is_last=attempt.was_told_to_stop)
            if not attempt.was_told_to_stop:
                return following
            killed = outcome.state in ("killed", "stopped")
            status = EXIT_TERMINATED if killed else EXIT_PREEMPTED
            return _stopped(is_done=following.is_done, exit_status=status)

        return self._agree(f"after/{number}", close)

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
            micro_batch=order.micro_batch,
            branches=self._branches[point.run_id],
            started_at=time.time(),
            drill=fault_of(self._drill, seed=point.science.seed, attempt=order.attempt),
        )

    def _with_record(self, point: RunPoint, outcome: Outcome) -> Outcome:
        """ "done" needs a record: exit codes prove nothing."""
        if outcome.is_good and RunDirectory(self._folder / point.run_id).read_record() is None:
            return Outcome(state="error", reason="every rank ended well but left no record", at=time.time())
        return outcome


def _stopped(*, is_done: bool, exit_status: int) -> Order:
    return Order(is_run=False, is_done=is_done, is_stop=True, exit_status=exit_status)


def _last_word(status: int) -> str:
    """How the last line of a launch begins, before the count of finished points."""
    told = {EXIT_PREEMPTED: "preempted", EXIT_TERMINATED: "killed"}.get(status)
    return "" if told is None else f"{told}, run the same command again to continue: "
