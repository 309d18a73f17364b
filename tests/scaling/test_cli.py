from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.plan import Plan
from scaling.records import RunDirectory, Status

ROOT = Path(__file__).resolve().parents[2]


def _scaling(*arguments: object, status: int = 0) -> str:
    command = [str(Path(sys.executable).with_name("scaling")), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_plan_of_the_papers_sweep_fits_into_100_columns_and_shows_every_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    where = ("--devices", 64, "--accelerator", "h200", "--price", 2.5, "--runs", tmp_path)
    table, _, path = _scaling("plan", "sweeps/model_scale.yaml", *where).partition("plan: ")
    assert max(map(len, table.splitlines())) <= 100 and "…" not in table
    written = Plan.model_validate_json((tmp_path / "model_scale" / "plan.json").read_text())
    assert written.contract_hash in path and written.accelerator == "h200_sxm"
    trained, _, taken = (line.split() for line in table.splitlines() if line.startswith("clip-vit_b16"))
    assert trained[1:-1] == ["31,250", "512M", "85.8M", "63.2M", "655K", "1.23e11"]
    cost = next(told.cost for told in written.points if told.point.run_id == taken[0])
    assert taken[1:4] == [
        "6.30e19",
        f"{cost.hardware_flops:.2e}".replace("e+", "e"),
        f"{cost.device_hours:.3g}",
    ]
    assert "provisional" in table


def test_a_plan_in_a_pipe_is_json_alone_and_its_tables_are_beside_it(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("scaling")), "plan", "sweeps/model_scale.yaml"]
    done = subprocess.run(
        [*command, "--json", "-", "--runs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert len(Plan.model_validate_json(done.stdout).points) == 8
    assert "what it takes on" in done.stderr and list(tmp_path.iterdir()) == []


def test_a_plan_is_not_put_in_the_place_of_a_pipe_or_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        said = _scaling("plan", "sweeps/model_scale.yaml", "--json", path, status=2)
        assert "is no file: name one, or - for standard output" in said.replace("\n", " ")
    assert (tmp_path / "pipe").is_fifo()


def test_planning_imports_no_torch(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv = ['scaling', 'plan', 'sweeps/model_scale.yaml', '--runs', '{tmp_path}']\n"
        "from scaling.cli import app\n"
        "app(standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_the_status_table_shows_damaged_failed_and_pending_runs(tmp_path: Path) -> None:
    plan = tmp_path / "quickstart" / "plan.json"
    _scaling("plan", "sweeps/quickstart.yaml", "--devices", 2, "--output", plan)
    run = RunDirectory(tmp_path / "quickstart" / "clip-extra")
    run.path.mkdir()
    run.point.write_text("{}")
    run.write_status(
        Status(state="diverged", reason="the loss is nan at step 7", samples_total=100, attempts=1)
    )
    damaged = RunDirectory(tmp_path / "quickstart" / "clip-torn")
    damaged.path.mkdir()
    damaged.point.write_text("{}")
    damaged.record.write_text("{")
    table = _scaling("status", "sweeps/quickstart.yaml", "--runs", tmp_path)
    assert "1 damaged, 1 diverged, 18 queued" in table and "nan" in table


def test_status_and_report_need_none_of_the_data_that_the_sweep_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAIRS", raising=False)
    (tmp_path / "pairs").mkdir()
    assert str(tmp_path / "pairs")[:20] in _scaling("status", "sweeps/pairs.yaml", "--runs", tmp_path)
    assert "report:" in _scaling("report", "sweeps/pairs.yaml", "--runs", tmp_path)


def test_a_users_mistake_is_one_clear_message_and_not_a_traceback() -> None:
    said = _scaling("plan", "sweeps/model_scal.yaml", status=2)
    assert "model_scale.yaml" in said and "Traceback" not in said
    said = _scaling("data", "check", "no/such/folder", status=2)
    assert "no/such/folder" in said and "Traceback" not in said


@pytest.mark.slow
def test_check_verifies_a_rendered_set_and_names_a_damaged_shard(tmp_path: Path) -> None:
    _scaling("data", "render", tmp_path / "set", "--train", 64, "--image-size", 16)
    assert "64 samples" in _scaling("data", "check", tmp_path / "set" / "train")
    shard = next((tmp_path / "set" / "train").rglob("shard.*.mds"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert shard.name in _scaling("data", "check", tmp_path / "set" / "train", status=1)
