from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaling.assignment import Outcome
from scaling.bookkeeping import Bookkeeper
from scaling.lease import Lease
from scaling.points import RunPoint, resolve_points
from scaling.records import RunDirectory, Status, WriteError
from scaling.spec import load_sweep

SWEEP = Path(__file__).resolve().parents[2] / "sweeps" / "model_scale.yaml"


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


@pytest.mark.parametrize("state", ["error", "oom", "diverged"])
def test_a_failed_point_runs_again_only_on_request(state: Any, run: RunDirectory, point: RunPoint) -> None:
    run.write_status(Status(state=state, reason="for some reason", attempts=1))
    order = _books(run).decide(0, point)
    assert not order.is_run and not order.is_done
    again = _books(run, retry_failed=True).decide(0, point)
    assert again.is_run and again.attempt == 2


@pytest.mark.parametrize("state", ["queued", "running", "trained", "killed", "preempted"])
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
    books.close(0, point, Outcome(state="oom", reason="CUDA out of memory", at=1.0), seconds=2.0)
    assert (run.read_status().state, run.read_status().reason) == ("oom", "CUDA out of memory")
    assert Lease.acquire(run.path) is not None


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
