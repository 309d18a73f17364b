from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.records import (
    Evaluation,
    RunDirectory,
    Status,
    WriteError,
    append_lines,
    cut_lines_from,
    read_lines,
    run_directories,
    write_atomically,
)


def test_a_read_only_folder_is_a_typed_failure_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="no/such/record.json"):
        write_atomically(tmp_path / "no/such/record.json", "{}")


def test_a_full_disk_leaves_the_old_record_and_no_half_written_one(tmp_path: Path) -> None:
    """The limit on file size makes the kernel refuse the write midway, as a full disk does."""
    record = tmp_path / "record.json"
    record.write_text('{"old": true}')
    code = (
        "import resource, signal, sys; from pathlib import Path; from scaling.records import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_atomically(Path(sys.argv[1]), 'x' * 100_000)\n"
        "except WriteError as error: print('typed:', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(record)], capture_output=True, text=True, check=True
    )
    assert "typed:" in done.stdout and "record.json" in done.stdout
    assert json.loads(record.read_text()) == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("line", [b'{"half', b"[1, 2]", b"\x00\xff", b'{"step": "\xff"}'])
def test_a_damaged_line_is_named_with_its_file_and_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b"\n" + b'{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not (JSON|a JSON object)"):
        list(read_lines(path))


def test_a_line_torn_by_a_killed_writer_is_left_out_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert list(read_lines(path)) == [{"step": 1}]
    append_lines(path, [{"step": 2}, {"step": 3}])
    assert [row["step"] for row in read_lines(path)] == [1, 2, 3]


def test_lines_after_the_last_checkpoint_are_cut_so_that_a_resume_writes_them_once(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    append_lines(path, [{"step": step} for step in range(5)])
    cut_lines_from(path, "step", 3)
    assert [row["step"] for row in read_lines(path)] == [0, 1, 2]


def test_a_run_that_was_never_touched_is_queued_and_has_no_record(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.read_status().state == "queued"
    assert run.read_record() is None
    assert run_directories(tmp_path / "missing") == []


def test_the_latest_evaluation_of_a_task_counts(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for top1 in (0.1, 0.2):
        row = Evaluation(
            task="linear_probe",
            protocol="p@1",
            metrics={"top1": top1},
            num_samples=1,
            samples_seen=1,
            seconds=0,
        )
        append_lines(run.evaluations, [row.model_dump(mode="json")])
    assert run.read_evaluations()["linear_probe"].metrics["top1"] == 0.2


def test_a_superseded_launcher_cannot_write_a_status(tmp_path: Path) -> None:
    def superseded() -> None:
        raise RuntimeError("lease lost")

    run = RunDirectory(tmp_path, superseded)
    with pytest.raises(RuntimeError, match="lease lost"):
        run.write_status(Status(state="done"))
    assert not run.status.exists()
