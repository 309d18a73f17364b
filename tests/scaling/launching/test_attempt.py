"""Parents of two ranks, in two threads, with children that play a part."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from scaling.launching import attempt, parent
from scaling.launching.agreement import PeerLost
from scaling.launching.parent import Parent
from scaling.plan import Plan, plan_sweep
from scaling.points import RunPoint, resolve_points
from scaling.processes.assignment import Assignment, Outcome
from scaling.processes.heartbeat import HeartbeatWriter, heartbeat_file
from scaling.processes.ranks import Rank
from scaling.records import RunDirectory, Status
from scaling.spec import load_sweep

SWEEP = Path(__file__).resolve().parents[3] / "sweeps" / "model_scale.yaml"
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


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    FakeStore.messages, FakeStore.lock, FakeChild.born = {}, threading.Lock(), []
    for module, name, value in (
        (parent, "Agreement", FakeStore),
        (attempt, "Child", FakeChild),
        (attempt, "start_server", lambda environment: None),
        (attempt, "POLL_SECONDS", 0.005),
        (attempt, "DUMP_SECONDS", 0.1),
        (attempt, "FAILED_TOGETHER_SECONDS", 0.2),
        (attempt, "EXPLAINED_SECONDS", 0.1),
    ):
        monkeypatch.setattr(module, name, value)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    sweep = load_sweep(SWEEP, ["global_batch=128", "warmup_samples=1K", "micro_batch=64", "grace_seconds=1"])
    points = resolve_points(sweep, num_ranks=2, require_data=False)[:2]
    plan = plan_sweep(points, "h100_sxm", question=sweep.question)
    return Stage(tmp_path / "runs", points, plan, (FakeRequest(), FakeRequest()), FakeChild.born)


def _oom(child: FakeChild) -> Outcome:
    facts = {"micro_batch": child.assignment.micro_batch, "peak_bytes": 7}
    return Outcome(state="oom", reason="CUDA out of memory", facts=facts, at=time.time())


def _preempted(child: FakeChild) -> Outcome | None:
    return Outcome(state="preempted", at=time.time()) if "preempt" in child.told else None


def _error(child: FakeChild) -> Outcome:
    return Outcome(state="error", reason="KeyError", at=time.time())


def test_a_point_that_runs_out_of_memory_runs_again_with_half_until_it_fits(stage: Stage) -> None:
    """Rank 1 alone runs out; both ranks go on together, at once, under the same lease and other ports."""

    def part(child: FakeChild) -> Outcome | None:
        if child.assignment.micro_batch > 16:
            return _oom(child) if child.rank == 1 else None
        return _error(child)

    assert stage.play(part) == [1, 1]
    assert stage.sizes(0) == stage.sizes(1) == [64, 32, 16] * 2
    first = [child.assignment for child in stage.children if child.rank == 0][:3]
    assert len({told.port for told in first}) == len({told.scratch for told in first}) == 3
    assert {told.lease_token for told in first} == {1} and [told.attempt for told in first] == [1, 2, 3]
    noted = json.loads((stage.run(0).path / "out_of_memory.json").read_text())
    assert [(entry["micro_batch"], entry["num_ranks"], entry["peak_bytes"]) for entry in noted] == [
        (64, 2, 7),
        (32, 2, 7),
    ]


def test_the_next_launch_starts_with_what_fitted(stage: Stage) -> None:
    stage.play(lambda child: _oom(child) if child.assignment.micro_batch > 16 else _error(child))
    stage.children.clear()
    FakeStore.messages.clear()
    stage.play(_error, retry_failed=True)
    assert stage.sizes() == [16, 16]


def test_a_point_for_which_one_sample_is_too_much_is_out_of_memory_and_says_what_helps(stage: Stage) -> None:
    assert stage.play(_oom) == [1, 1]
    assert stage.sizes() == [64, 32, 16, 8, 4, 2, 1] * 2
    status = stage.status(0)
    assert status.state == "oom" and status.facts["micro_batch"] == 1 and status.facts["peak_bytes"] == 7
    assert "activation_checkpointing" in status.reason


def test_a_request_to_one_rank_stops_all_with_a_checkpoint_and_the_status_75(stage: Stage) -> None:
    stage.requests[1].reason = "got SIGUSR1"
    assert stage.play(_preempted) == [75, 75]
    assert all("preempt" in child.told and "kill" not in child.told for child in stage.children)
    assert stage.status(0).state in ("preempted", "queued") and stage.status(1).state == "queued"


def test_a_request_while_a_point_runs_leaves_it_preempted_and_the_next_one_untouched(stage: Stage) -> None:
    def part(child: FakeChild) -> Outcome | None:
        stage.requests[0].reason = "got SIGTERM"
        return _preempted(child)

    assert stage.play(part) == [75, 75]
    assert [stage.status(index).state for index in (0, 1)] == ["preempted", "queued"]


def test_children_without_a_checkpoint_at_the_end_of_the_grace_are_killed_and_the_point_continues_later(
    stage: Stage,
) -> None:
    def part(child: FakeChild) -> Outcome | None:
        stage.requests[0].reason = "got SIGTERM"
        return None

    assert stage.play(part) == [143, 143]
    status = stage.status(0)
    assert status.state == "killed" and "grace_seconds (1)" in status.reason
    assert all(child.told[0] == "preempt" and child.told[-1] == "kill" for child in stage.children)


def test_a_second_interrupt_kills_at_once(stage: Stage) -> None:
    def part(child: FakeChild) -> Outcome | None:
        stage.requests[0].reason, stage.requests[0].is_urgent = "got SIGINT", True
        return _preempted(child) if child.rank == 1 else None

    assert stage.play(part) == [143, 143]
    assert stage.status(0).state == "killed" and "twice" in stage.status(0).reason


def test_a_point_out_of_memory_in_a_launch_that_stops_continues_with_less(stage: Stage) -> None:
    def part(child: FakeChild) -> Outcome | None:
        stage.requests[0].reason = "got SIGTERM"
        return _oom(child) if "preempt" in child.told else None

    assert stage.play(part) == [75, 75]
    assert stage.status(0).state == "preempted" and stage.sizes() == [64]
    stage.requests[0].reason = ""
    stage.children.clear()
    FakeStore.messages.clear()
    stage.play(_error)
    assert stage.sizes()[0] == 32


def test_a_hung_point_leaves_the_stacks_of_all_ranks_and_the_sweep_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 1 beats no more; its parent's watch is the shorter, so that it is the one that notices."""
    monkeypatch.setattr(attempt, "LEAST_SECONDS", 0.3)

    def part(child: FakeChild) -> Outcome | None:
        if child.assignment.point != stage.points[0].model_dump_json():
            return _error(child)
        polls[child.rank] += 1
        if child.rank == 0 or polls[1] < 4:
            child.heart.beat(polls[child.rank], "training")
        return None

    polls = [0, 0]
    assert stage.play(part) == [1, 1]
    status = stage.status(0)
    assert status.state == "hung" and status.facts["rank"] == 1 and status.facts["step"] == 3
    assert status.facts["seconds"] >= 0.3 and 0 < status.facts["median_step_seconds"] < 0.1
    told = [child.told for child in stage.children[:2]]
    assert told == [["dump", "kill"], ["dump", "kill"]]
    assert stage.status(1).state == "error", "the next point ran"


def test_a_rank_that_fails_takes_the_others_with_it_and_its_reason_is_told(stage: Stage) -> None:
    assert stage.play(lambda child: _error(child) if child.rank == 1 else None) == [1, 1]
    assert (stage.status(0).state, stage.status(0).reason) == ("error", "KeyError")
    assert all(child.told == ["kill"] for child in stage.children if child.rank == 0)


def test_a_launcher_that_lost_its_lease_writes_no_status_and_goes_on_to_the_next_point(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another launcher, which thought this one dead, trains the point now."""
    monkeypatch.setattr("scaling.processes.lease.HEARTBEAT_SECONDS", 0.0)

    def part(child: FakeChild) -> Outcome | None:
        if child.assignment.point != stage.points[0].model_dump_json():
            return _error(child)
        run = stage.run(0)
        (run.path / "leases" / "000002.json").write_text("{}")
        run.status.write_text(Status(state="running", attempts=9).model_dump_json())
        return None

    assert stage.play(part) == [1, 1]
    assert (stage.status(0).state, stage.status(0).attempts) == ("running", 9)
    assert stage.status(1).state == "error"


def test_nothing_of_an_attempt_stays_in_the_temporary_folder(stage: Stage) -> None:
    stage.play(_error)
    assert not list(Path(tempfile.gettempdir()).iterdir())
