"""Parents of two ranks, in two threads, with children that play a part."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scaling.launching.agreement import PeerLost
from scaling.launching.parent import Parent
from scaling.plan import Plan
from scaling.points import RunPoint
from scaling.processes.assignment import Assignment, Outcome
from scaling.processes.heartbeat import HeartbeatWriter, heartbeat_file
from scaling.processes.ranks import Rank
from scaling.records import RunDirectory, Status

Part = Callable[["FakeChild"], Outcome | None]  # what a child plays: its outcome, None while it runs


class FakeStore:
    """Agreement without a network; "nobody waits longer" where a test shortens the wait."""

    messages: dict[str, str]
    lock: threading.Lock

    def __init__(self, rank: Rank) -> None:
        self._rank = rank

    def publish(self, key: str, message: Any) -> None:
        with self.lock:
            self.messages[key] = json.dumps(message)

    def publish_first(self, key: str, message: Any) -> None:
        with self.lock:
            self.messages.setdefault(key, json.dumps(message))

    def peek(self, key: str) -> Any | None:
        found = self.messages.get(key)
        return None if found is None else json.loads(found)

    def wait(
        self, key: str, *, while_waiting: Callable[[], None] = lambda: None, seconds: float | None = None
    ) -> Any:
        deadline = time.monotonic() + (20 if seconds is None else seconds)
        while (message := self.peek(key)) is None:
            while_waiting()
            if time.monotonic() > deadline:
                raise PeerLost(f"no word about {key}")
            time.sleep(0.005)
        return message

    def finish(self) -> None:
        pass


class FakeChild:
    """A child that follows the test's script and remembers what it was told."""

    part: Part
    born: list[FakeChild]

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.rank = assignment.rank.rank
        self.told: list[str] = []
        self.heart = HeartbeatWriter(heartbeat_file(assignment.scratch, self.rank))
        self.born.append(self)

    def poll(self) -> Outcome | None:
        return Outcome(state="stopped", at=time.time()) if "kill" in self.told else type(self).part(self)

    def preempt(self) -> None:
        self.told.append("preempt")

    def dump_stacks(self) -> None:
        self.told.append("dump")

    def stop(self) -> Outcome:
        if (outcome := self.poll()) is None:
            self.told.append("kill")
        found = outcome or self.poll()
        assert found is not None
        return found


@dataclasses.dataclass
class FakeRequest:
    """A StopRequest without signals."""

    reason: str = ""
    is_urgent: bool = False
    interrupts: bool = True


@dataclasses.dataclass
class Stage:
    """Two parents over the same two points, of 64 samples a rank."""

    folder: Path
    points: list[RunPoint]
    plan: Plan
    requests: tuple[FakeRequest, FakeRequest]
    children: list[FakeChild]

    def play(self, part: Part, *, retry_failed: bool = False) -> list[int]:
        """The exit statuses of both ranks' parents."""
        FakeChild.part = staticmethod(part)  # type: ignore[assignment]
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda rank: self._parent(rank, retry_failed).run(), (0, 1)))

    def _parent(self, rank: int, retry_failed: bool) -> Parent:
        place = Rank(
            rank=rank, num_ranks=2, local_rank=rank, local_num_ranks=2, master_address="here", master_port=1
        )
        return Parent(
            self.points,
            self.plan,
            self.folder,
            place,
            self.requests[rank],  # type: ignore[arg-type]
            accelerator="cpu",
            retry_failed=retry_failed,
        )

    def status(self, index: int) -> Status:
        return self.run(index).read_status()

    def run(self, index: int) -> RunDirectory:
        return RunDirectory(self.folder / self.points[index].run_id)

    def sizes(self, rank: int = 0) -> list[int]:
        return [child.assignment.micro_batch for child in self.children if child.rank == rank]
