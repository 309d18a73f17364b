"""What becomes of a point whose attempts run out of memory, hang, fail or are told to stop."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path

import pytest
from staged_attempts import FakeChild, FakeRequest, FakeStore, Stage

from scaling.launching import attempt, parent
from scaling.plan import plan_sweep
from scaling.points import resolve_points
from scaling.processes.assignment import Outcome
from scaling.records import Status
from scaling.spec import load_sweep

SWEEP = Path(__file__).resolve().parents[3] / "sweeps" / "model_scale.yaml"


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
