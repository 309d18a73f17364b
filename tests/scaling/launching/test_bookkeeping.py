from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaling.checkpoints.names import folder_name
from scaling.cost import decay_step
from scaling.launching.bookkeeping import Bookkeeper
from scaling.points import RunPoint, resolve_points
from scaling.processes.assignment import Outcome
from scaling.processes.lease import Lease
from scaling.records import RunDirectory, Status, WriteError
from scaling.spec import load_sweep
from scaling.trunks import possible_branches

SWEEP = Path(__file__).resolve().parents[3] / "sweeps" / "model_scale.yaml"


@pytest.fixture
def point() -> RunPoint:
    return resolve_points(load_sweep(SWEEP), num_ranks=2, require_data=False)[0]


@pytest.fixture
def run(tmp_path: Path, point: RunPoint) -> RunDirectory:
    folder = tmp_path / point.run_id
    folder.mkdir()
    return RunDirectory(folder)


def _books(run: RunDirectory, *, retry_failed: bool = False) -> Bookkeeper:
    return Bookkeeper(run.path.parent, 1, retry_failed=retry_failed)


def test_a_new_point_runs_under_a_lease_and_is_running_at_once(run: RunDirectory, point: RunPoint) -> None:
    order = _books(run).decide(0, point)
    assert order.is_run and order.attempt == 1 and order.port > 0
    assert run.read_status().state == "running"
    assert RunPoint.model_validate_json(run.point.read_text()) == point
    assert not _books(run).decide(0, point).is_run, "this launcher lives and holds it"


@pytest.mark.parametrize("name", ["record.json", "status.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"sweep": 3}'])
def test_a_damaged_file_of_one_run_is_named_and_stops_no_other(
    name: str, content: bytes, run: RunDirectory, point: RunPoint, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.path / name).write_bytes(content)
    order = _books(run).decide(0, point)
    assert not (order.is_run or order.is_done or order.is_stop)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{name} is damaged" in said and "move it away" in said


@pytest.mark.parametrize("state", ["error", "oom", "diverged", "shard_corrupt"])
def test_a_failed_point_runs_again_only_on_request(state: Any, run: RunDirectory, point: RunPoint) -> None:
    run.write_status(Status(state=state, reason="for some reason", attempts=1))
    order = _books(run).decide(0, point)
    assert not order.is_run and not order.is_done
    again = _books(run, retry_failed=True).decide(0, point)
    assert again.is_run and again.attempt == 2


@pytest.mark.parametrize("state", ["queued", "running", "trained", "killed", "preempted", "hung"])
def test_an_interrupted_point_simply_continues(state: Any, run: RunDirectory, point: RunPoint) -> None:
    run.write_status(Status(state=state, attempts=1))
    assert _books(run).decide(0, point).attempt == 2


def test_a_checkpoint_of_other_ranks_is_continued(run: RunDirectory, point: RunPoint) -> None:
    checkpoint = run.checkpoints / "step-000000008"
    checkpoint.mkdir(parents=True)
    (checkpoint / "progress.json").write_text(json.dumps({"num_ranks": 8}))
    (run.checkpoints / "latest").write_text(checkpoint.name)
    assert _books(run).decide(0, point).is_run


def test_the_end_of_a_point_is_written_down_and_its_lease_released(
    run: RunDirectory, point: RunPoint
) -> None:
    books = _books(run)
    books.decide(0, point)
    facts = {"step": 7, "what": "loss", "checkpoint": 4}
    outcome = Outcome(state="diverged", reason="the loss is nan", facts=facts, at=1.0)
    assert not books.close(0, point, outcome, seconds=2.0).is_run
    assert (run.read_status().state, run.read_status().reason) == ("diverged", "the loss is nan")
    assert run.read_status().facts == facts
    assert Lease.acquire(run.path) is not None


def test_a_new_attempt_forgets_why_the_last_one_ended(run: RunDirectory, point: RunPoint) -> None:
    failed = Status(state="hung", reason="no progress", detail="stacks", facts={"step": 3}, samples_seen=5)
    run.write_status(failed)
    _books(run).decide(0, point)
    status = run.read_status()
    assert (status.state, status.reason, status.detail, status.facts) == ("running", "", "", {})
    assert status.samples_seen == 5


def test_a_point_that_another_launcher_ended_while_this_one_looked_is_not_begun_again(
    run: RunDirectory, point: RunPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails, and its lease is given free, after our look at its status and before our lease."""
    acquire = Lease.acquire

    def after_the_other_ended(path: Path) -> Lease | None:
        run.write_status(Status(state="diverged", reason="the loss is nan", attempts=1))
        return acquire(path)

    monkeypatch.setattr(Lease, "acquire", after_the_other_ended)
    assert not _books(run).decide(0, point).is_run
    assert run.read_status().state == "diverged"
    monkeypatch.undo()
    assert _books(run, retry_failed=True).decide(0, point).is_run, "its lease was given free"


def test_the_end_of_a_point_is_not_written_by_a_launcher_that_was_superseded(
    run: RunDirectory, point: RunPoint, capsys: pytest.CaptureFixture[str]
) -> None:
    books = _books(run)
    books.decide(0, point)
    (run.path / "leases" / "000002.json").write_text("{}")
    for state in ("error", "oom"):
        assert not books.close(0, point, Outcome(state=state, reason="some reason"), seconds=2.0).is_run
        assert run.read_status().state == "running" and "took over" in capsys.readouterr().out
        books = _books(run)
        books._lease = Lease(run.path / "leases", 1)


def test_a_full_disk_at_the_end_of_a_point_is_told_and_does_not_end_the_sweep(
    run: RunDirectory,
    point: RunPoint,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    books = _books(run)
    books.decide(0, point)

    def full(*_: object) -> Callable[[], None]:
        raise WriteError("status.json: not written (No space left on device)")

    monkeypatch.setattr(RunDirectory, "write_status", full)
    books.close(0, point, Outcome(state="error", reason="WriteError: record.json", at=1.0), seconds=2.0)
    assert "No space left on device" in capsys.readouterr().out


def test_a_point_ends_in_order_when_nobody_reads_what_is_said(
    run: RunDirectory, point: RunPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher that passed it on was killed."""

    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", broken)
    books = _books(run)
    books.decide(0, point)
    books.close(0, point, Outcome(state="preempted", at=1.0), seconds=2.0)
    assert run.read_status().state == "preempted"


@pytest.fixture
def trunk(tmp_path: Path) -> tuple[list[RunPoint], Callable[[], Bookkeeper]]:
    """Two points that share a trunk, and the books of as many launchers as a test asks for."""
    file = tmp_path / "wsd.yaml"
    file.write_text(SWEEP.read_text().replace("  samples_seen: 512M\n", ""))
    overrides = ["schedule=wsd", "objective=clip", "image_tower=vit_s16", "samples_seen=[128M, 512M]"]
    points = resolve_points(load_sweep(file, overrides), num_ranks=2, require_data=False)
    branches = {point.run_id: possible_branches(point, points) for point in points}
    return points, lambda: Bookkeeper(tmp_path, 2, retry_failed=False, branches=branches)


def test_a_run_waits_for_the_trunk_that_another_launcher_trains(
    trunk: tuple[list[RunPoint], Callable[[], Bookkeeper]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (short, long), launcher = trunk
    first, second = launcher(), launcher()
    assert first.decide(0, short).is_run
    for _ in range(2):
        order = second.decide(1, long)
        assert order.is_deferred and not order.is_run
    told = f"waits for {short.run_id}, which another launcher trains, to have seen 102.4M samples"
    assert capsys.readouterr().out.count(told) == 1
    (tmp_path / short.run_id / "checkpoints" / folder_name(decay_step(short.science))).mkdir(parents=True)
    assert second.decide(1, long).is_run, "it can branch while the other decays"


def test_a_run_waits_no_longer_than_its_trunk_is_trained(
    trunk: tuple[list[RunPoint], Callable[[], Bookkeeper]],
) -> None:
    (short, long), launcher = trunk
    first, second = launcher(), launcher()
    assert first.decide(0, short).is_run and second.decide(1, long).is_deferred
    first.close(0, short, Outcome(state="diverged", reason="the loss is nan", at=1.0), seconds=1.0)
    assert second.decide(1, long).is_run, "it trains the trunk itself"


def test_a_shorter_run_does_not_wait_for_a_longer_one_which_keeps_nothing_for_it(
    trunk: tuple[list[RunPoint], Callable[[], Bookkeeper]],
) -> None:
    (short, long), launcher = trunk
    assert launcher().decide(1, long).is_run and launcher().decide(0, short).is_run


def test_a_run_with_a_checkpoint_of_its_own_waits_for_none(
    trunk: tuple[list[RunPoint], Callable[[], Bookkeeper]], tmp_path: Path
) -> None:
    (short, long), launcher = trunk
    assert launcher().decide(0, short).is_run
    (tmp_path / long.run_id / "checkpoints" / folder_name(1)).mkdir(parents=True)
    assert launcher().decide(1, long).is_run


@pytest.mark.parametrize("is_sealed", [False, True])
def test_the_scores_of_a_finished_run_are_told_unless_it_is_sealed(
    is_sealed: bool,
    run: RunDirectory,
    point: RunPoint,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored = types.SimpleNamespace(task="linear_probe", metrics={"top1": 0.1234})
    record = types.SimpleNamespace(
        measured=types.SimpleNamespace(samples_per_second=9.0), evaluations=[scored]
    )
    books = Bookkeeper(run.path.parent, 1, retry_failed=False, holdout=(point.run_id,) if is_sealed else ())
    books.decide(0, point)
    monkeypatch.setattr(RunDirectory, "read_record", lambda _: record)
    assert books.close(0, point, Outcome(state="done", at=1.0), seconds=2.0).is_done
    told = capsys.readouterr().out
    assert ("0.123" in told, "its scores are sealed" in told) == (not is_sealed, is_sealed)
