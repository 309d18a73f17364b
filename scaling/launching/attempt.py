"""One attempt at one point, on one rank: starts, watches and ends a child; all ranks agree on how it ended."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from scaling.launching.agreement import POLL_SECONDS, Agreement
from scaling.launching.children import Child, start_server
from scaling.launching.stop_request import StopRequest, Terminated
from scaling.launching.watchdog import LEAST_SECONDS, Hang, Watchdog
from scaling.placement import Placement
from scaling.processes.assignment import Assignment, Outcome, joint_outcome
from scaling.processes.drilled_faults import HANG, HANG_SECONDS
from scaling.processes.heartbeat import heartbeat_file
from scaling.processes.lease import LeaseLost
from scaling.processes.residue import claim_scratch, remove_point

SCRATCH_SECONDS = 60.0  # for the first rank of a machine to make a folder
FAILED_TOGETHER_SECONDS = 20.0
"""How long the children of other ranks may still report an error of their own, once one rank's child has died."""
DUMP_SECONDS = 2.0  # for every rank of a hung run to write its stacks, before the first of them is killed
# on top of the time ranks have to end; a rank that is silent for longer has lost its parent
AGREE_SECONDS = 120.0
# the same, once a rank has reported one of EXPLANATIONS, which others' errors follow from
EXPLAINED_SECONDS = 2.0
EXPLANATIONS = ("killed", "oom", "shard_corrupt", "diverged")

FAILED, EXPLAINED, HUNG, STOP = "failed", "explained", "hung", "stop"
"""Why all ranks end an attempt early, published by the first that knows."""


class Attempt:
    """An attempt, the `number`-th of this launch."""

    def __init__(
        self,
        assignment: Assignment,
        placement: Placement,
        agreement: Agreement,
        stop: StopRequest,
        *,
        number: int,
        renew_lease: Callable[[], None],
    ) -> None:
        self._assignment = assignment
        self._grace_seconds = placement.grace_seconds
        self._hang_factor = placement.hang_factor
        self._agreement = agreement
        self._stop = stop
        self._number = number
        self._renew_lease = renew_lease
        self._rank = assignment.rank
        self._interrupt: str | None = None  # why all ranks end early, once this rank knows
        self._deadline = float("inf")  # of the child, once it is to end

    @property
    def was_told_to_stop(self) -> bool:
        """Whether the attempt ended because a rank's parent was asked to stop."""
        return self._interrupt == STOP

    def run(self) -> Outcome:
        """The joint outcome of all ranks; raises PeerLost or Terminated if they could not agree on one."""
        if not self._make_scratch():
            return self._agree_on(self._ended("stopped", "ended by another rank before it began"))
        start_server(self._assignment.environment())
        child = Child(self._assignment)
        try:
            return self._agree_on(self._watch(child))
        finally:
            child.stop()
            if self._rank.is_local_leader:
                remove_point(self._assignment.scratch, self._assignment.port)

    def _make_scratch(self) -> bool:
        """Whether the point's temporary folder on this machine is there; False if a rank ended the attempt before."""
        if self._rank.is_local_leader:
            claim_scratch(self._assignment.scratch, self._assignment.port)
        deadline = time.monotonic() + SCRATCH_SECONDS
        while not self._assignment.scratch.exists():
            if self._agreement.peek(self._key) is not None:
                return False
            if time.monotonic() > deadline:
                raise Terminated(f"{self._assignment.scratch} was not made by this machine's first rank")
            time.sleep(POLL_SECONDS)
        return True

    def _watch(self, child: Child) -> Outcome:
        """The outcome of this rank's child, whether it ended by itself or was ended."""
        least_seconds = HANG_SECONDS if self._assignment.drill == HANG else LEAST_SECONDS
        heartbeat = heartbeat_file(self._assignment.scratch, self._rank.rank)
        watchdog = Watchdog(heartbeat, self._hang_factor, least_seconds)
        while (outcome := child.poll()) is None:
            try:
                self._renew_lease()
            except LeaseLost as error:
                child.stop()
                return self._ended("stopped", str(error))
            hang = watchdog.look()
            self._look_for_interrupts(hang)
            if (forced := self._force(child, hang)) is not None:
                return forced
            time.sleep(POLL_SECONDS)
        return outcome

    def _look_for_interrupts(self, hang: Hang | None) -> None:
        """Note the first reason of any rank to end early, and tell it to the others."""
        if self._interrupt is not None:
            return
        if self._stop.reason:
            self._agreement.publish_first(self._key, STOP)
        elif hang is not None:
            self._agreement.publish_first(self._key, HUNG)
        self._interrupt = self._agreement.peek(self._key)
        seconds = {
            STOP: self._grace_seconds,
            FAILED: FAILED_TOGETHER_SECONDS,
            EXPLAINED: EXPLAINED_SECONDS,
        }
        self._deadline = time.monotonic() + seconds.get(self._interrupt or "", float("inf"))

    def _force(self, child: Child, hang: Hang | None) -> Outcome | None:
        """Kill a child that had to end and did not in time; its outcome, None while it still has time."""
        rank = self._rank.rank
        if self._stop.is_urgent:
            child.stop()
            return self._ended("killed", f"rank {rank} was killed: {self._stop.reason}, twice")
        if self._interrupt == HUNG:
            return self._bury_hung(child, hang)
        if self._interrupt == STOP:
            child.preempt()
        if time.monotonic() <= self._deadline:
            return None
        return self._kill_late(child) if self._interrupt == STOP else child.stop()

    def _kill_late(self, child: Child) -> Outcome:
        outcome = child.stop()
        if outcome.state != "stopped":
            return outcome
        reason = f"rank {self._rank.rank} wrote no checkpoint within grace_seconds ({self._grace_seconds})"
        return self._ended("killed", f"{reason} of the request to stop")

    def _bury_hung(self, child: Child, hang: Hang | None) -> Outcome:
        child.dump_stacks()
        time.sleep(DUMP_SECONDS)
        outcome = child.stop()
        if hang is None:
            return outcome
        return self._ended("hung", hang.reason(self._rank.rank), hang.facts(self._rank.rank))

    def _ended(self, state: Any, reason: str, facts: dict[str, Any] | None = None) -> Outcome:
        return Outcome(state=state, reason=reason, facts=facts or {}, at=time.time())

    def _agree_on(self, outcome: Outcome) -> Outcome:
        """The outcome of all ranks, from that of this one."""
        if not outcome.is_good:
            why = {"preempted": STOP, **dict.fromkeys(EXPLANATIONS, EXPLAINED)}.get(outcome.state, FAILED)
            self._agreement.publish_first(self._key, why)
        self._agreement.publish(f"outcome/{self._number}/{self._rank.rank}", dataclasses.asdict(outcome))
        # if this rank failed, the others' parents must say so soon
        seconds = None if outcome.is_good else AGREE_SECONDS + self._grace_seconds + FAILED_TOGETHER_SECONDS
        keys = [f"outcome/{self._number}/{other}" for other in range(self._rank.num_ranks)]
        messages = [
            self._agreement.wait(key, while_waiting=self._while_waiting, seconds=seconds) for key in keys
        ]
        self._interrupt = self._agreement.peek(self._key)
        return joint_outcome([Outcome(**message) for message in messages])

    def _while_waiting(self) -> None:
        self._renew_lease_if_held()
        if self._stop.reason:
            self._agreement.publish_first(self._key, STOP)

    def _renew_lease_if_held(self) -> None:
        try:
            self._renew_lease()
        except LeaseLost:  # raised again, and reported, when the outcome is written down
            pass

    @property
    def _key(self) -> str:
        return interrupt_key(self._number)


def interrupt_key(number: int) -> str:
    """The key of the message by which ranks tell each other to end the `number`-th attempt early."""
    return f"interrupt/{number}"
