from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scaling.processes.lease import EXPIRES_SECONDS, Lease, LeaseLost, check_lease


def _rewrite_holder(run: Path, token: int, **changes: object) -> None:
    path = run / "leases" / f"{token:06d}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_only_one_of_many_launchers_gets_a_run(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda _: Lease.acquire(tmp_path), range(8)))
    assert sum(lease is not None for lease in leases) == 1


def test_a_released_run_is_free_at_once(tmp_path: Path) -> None:
    first = Lease.acquire(tmp_path)
    assert first is not None and Lease.acquire(tmp_path) is None
    first.release()
    second = Lease.acquire(tmp_path)
    assert second is not None and second.token == first.token + 1


def test_a_launcher_on_another_machine_without_heartbeat_is_superseded_and_may_not_write(
    tmp_path: Path,
) -> None:
    paused = Lease.acquire(tmp_path)
    assert paused is not None
    _rewrite_holder(tmp_path, paused.token, host="elsewhere", renewed_at=time.time() - 2 * EXPIRES_SECONDS)
    assert Lease.acquire(tmp_path) is not None
    with pytest.raises(LeaseLost, match="took over"):
        check_lease(tmp_path, paused.token)
    with pytest.raises(LeaseLost):
        paused.renew()


def test_a_live_launcher_on_another_machine_keeps_its_run(tmp_path: Path) -> None:
    held = Lease.acquire(tmp_path)
    assert held is not None
    _rewrite_holder(tmp_path, held.token, host="elsewhere", pid=2**22 - 1)
    assert Lease.acquire(tmp_path) is None


def test_the_run_of_a_process_killed_on_this_machine_is_free_at_once(tmp_path: Path) -> None:
    killed = Lease.acquire(tmp_path)
    assert killed is not None
    _rewrite_holder(tmp_path, killed.token, pid=2**22 - 1)  # above pid_max of this kernel, so nobody's
    assert Lease.acquire(tmp_path) is not None


def test_a_holder_that_is_busy_for_long_keeps_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import of a first child may take longer than a lease lasts; its parent's main thread waits for it."""
    monkeypatch.setattr("scaling.processes.lease.HEARTBEAT_SECONDS", 0.05)
    held = Lease.acquire(tmp_path)
    assert held is not None
    _rewrite_holder(tmp_path, held.token, renewed_at=0.0)
    path = tmp_path / "leases" / f"{held.token:06d}.json"
    deadline = time.monotonic() + 20
    while json.loads(path.read_text())["renewed_at"] == 0.0:
        assert time.monotonic() < deadline, "nobody renewed it"
        time.sleep(0.01)
    held.release()
    time.sleep(0.2)
    held.renew()
    assert json.loads(path.read_text())["released"], "no late renewal takes it back"
