"""A study on a real Slurm, where one runs: stopped by the queue, requeued, finished."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.records import RunDirectory, run_directories

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 500  # Slurm lets a requeued job wait for two minutes


def _has_slurm() -> bool:
    return shutil.which("sinfo") is not None and _slurm("sinfo", "-h", "-t", "idle,mixed").strip() != ""


def _slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


@pytest.mark.timeout(2 * LIMIT_SECONDS)
def test_a_job_that_the_queue_stops_writes_a_checkpoint_comes_back_and_finishes_the_point(
    small_rendering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    if not _has_slurm():
        pytest.skip("no Slurm with a free node here")
    settings = tmp_path / "slurm.yaml"
    settings.write_text(f"{{hours: 0.5, ranks_per_node: 2, setup: ['export PYTHONPATH={ROOT}']}}")
    monkeypatch.setenv("SMOKE_DATA", str(small_rendering))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    size = ("--set", "samples_seen=16K", "--set", "checkpoint_every_samples=0", "--set", "precision=fp32")
    command = [str(Path(sys.executable).with_name("scaling")), "launch", "sweeps/smoke.yaml", *size]
    options = ["--slurm", str(settings), "--only", "superclass-*", "--runs", str(tmp_path)]
    said = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stdout + said.stderr
    job = said.stdout.split("job ")[1].split()[0]
    try:
        _wait_for(lambda: any(run.metrics.exists() for run in run_directories(tmp_path / "smoke")))
        (run,) = run_directories(tmp_path / "smoke")
        _slurm("scancel", "--signal=USR1", job)
        _wait_for(lambda: run.read_status().state == "preempted")
        assert run.latest_checkpoint() is not None
        _wait_for(lambda: "PENDING" in _slurm("squeue", "-h", "-j", job, "-o", "%T"))
        _slurm("scontrol", "update", f"jobid={job}", "starttime=now")
        _wait_for(lambda: run.read_record() is not None)
    finally:
        _slurm("scancel", job)
    _check(run)


def _check(run: RunDirectory) -> None:
    record = run.read_record()
    assert record is not None
    assert (record.measured.attempts, record.measured.num_ranks) == (2, 2)
    assert record.measured.samples_seen == 16_000
