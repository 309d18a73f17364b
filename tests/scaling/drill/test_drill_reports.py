"""What a drill tells, and with which exit status."""

from __future__ import annotations

import dataclasses
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from scaling.cli import app
from scaling.drill import drills, processes
from scaling.drill.finding import Finding, Witness, table_of
from scaling.drill.processes import MARK, left_behind, processes_of
from scaling.drill.rounds import _attempts_after
from scaling.drill.site import Site


def finding(*, passes: bool) -> Finding:
    witness = Witness()
    witness.expect(True, "exit 75")
    witness.expect(passes, "losses equal", "loss 8.1 at step [3]")
    return witness.finding("sigterm", "SIGTERM", "the same run")


def test_a_drill_passes_when_nothing_that_was_expected_is_missed() -> None:
    assert finding(passes=True).is_passed and not finding(passes=False).is_passed


def test_the_table_shows_what_was_missed_and_what_there_was_instead() -> None:
    console = Console(width=200, record=True)
    console.print(table_of([finding(passes=True), finding(passes=False)], "drills"))
    told = console.export_text()
    assert "MISSED: losses equal (instead: loss 8.1 at step [3])" in told
    assert "1 of 2 passed" in told and told.count("exit 75") == 2


def test_names_of_drills_are_whole_in_a_narrow_terminal() -> None:
    console = Console(width=100, record=True)
    told = finding(passes=True)
    console.print(table_of([dataclasses.replace(told, drill=name) for name in drills.SHARED], "drills"))
    assert all(name in console.export_text(clear=False) for name in drills.SHARED)


@pytest.mark.parametrize("passes, status", [(True, 0), (False, 1)])
def test_the_exit_status_is_1_if_a_drill_failed(
    monkeypatch: pytest.MonkeyPatch, passes: bool, status: int
) -> None:
    monkeypatch.setitem(drills.OTHERS, "corrupt-shard", lambda site: [finding(passes=passes)])
    result = CliRunner().invoke(app, ["drill", "corrupt-shard"])
    assert result.exit_code == status and "sigterm" in result.output


@pytest.mark.parametrize("keep", [False, True])
def test_the_folder_of_a_drill_is_deleted_unless_it_is_to_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keep: bool
) -> None:
    folders: list[Path] = []

    def play(site: Site) -> list[Finding]:
        folders.append(site.folder)
        return [finding(passes=True)]

    monkeypatch.setitem(drills.OTHERS, "corrupt-shard", play)
    assert drills.run_drills("corrupt-shard", keep=keep, console=Console(quiet=True))
    assert folders[0].exists() == keep
    if keep:
        folders[0].rmdir()


def test_an_unknown_drill_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'flood'.*oom.*sigterm.*two-launchers.*parity, all"):
        drills.run_drills("flood", keep=False, console=Console(quiet=True))


def test_there_is_a_drill_for_every_fault() -> None:
    wanted = (
        "oom sigterm sigkill-rank sigkill-launcher nan hang corrupt-shard half-written-checkpoint disk-full"
    )
    assert {*wanted.split(), "world-size", "two-launchers", "parity", "all"} == {*drills.NAMES}


def test_runs_that_began_after_another_ended_are_counted() -> None:
    lines = ["[1/3] a-s0: started", "[1/3] a-s0: hung after 9 s: no step", "[2/3] a-s1: started", "3 points"]
    assert _attempts_after("\n".join(lines), "a-s0") == 1
    assert _attempts_after("\n".join(lines), "a-s1") == 0


def test_processes_that_a_launch_left_are_found_by_their_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "CLEAN_SECONDS", 0.0)
    environment = {**os.environ, MARK: str(tmp_path)}
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(command, env=environment)
    others = subprocess.Popen(command, env={**os.environ, MARK: f"{tmp_path}-other"})
    try:
        deadline = time.monotonic() + 30
        while not processes_of(str(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [process.pid for process in processes_of(str(tmp_path))] == [ours.pid]
        (left,) = left_behind(str(tmp_path), tmp_path, [], time.time())
        assert left.startswith(f"process {ours.pid} ")
    finally:
        for process in (ours, others):
            process.kill()
            process.wait()
    (tmp_path / "scaling-point-0123456789ab").mkdir()
    (left,) = left_behind(str(tmp_path), tmp_path, [], time.time())
    assert left.endswith("scaling-point-0123456789ab")


def test_segments_in_shared_memory_are_left_only_if_they_stay_and_nobody_has_them_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "CLEAN_SECONDS", 0.3)
    monkeypatch.setattr(processes, "SHARED_MEMORY", tmp_path)
    since = time.time() - 1
    for name in ("000000_locals", "000001_locals", "another_file"):
        (tmp_path / name).write_bytes(bytes(64))
    (tmp_path / "log").write_text("--- attempt 1, MASTER_PORT=4242 TMPDIR=/tmp")
    buffer = tmp_path / f"deepspeed_allreduce_buffer_{os.getuid()}_127.0.0.1_4242_0"
    buffer.touch()
    (tmp_path / f"deepspeed_allreduce_buffer_{os.getuid()}_127.0.0.1_4243_0").touch()
    with open(tmp_path / "000001_locals", "rb") as stream:
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ):
            left = processes.left_in_shared_memory([tmp_path / "log"], since)
    assert [path.split(" ")[0] for path in left] == [str(buffer), str(tmp_path / "000000_locals")]
    assert (
        len(processes.left_in_shared_memory([], time.time() + 60)) == 0
    ), "older than the launch: not its own"
    looks = iter([["000002_resume"], [], ["000002_resume"]])
    assert processes._what_stays(lambda: next(looks)) == []
