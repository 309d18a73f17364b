from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scaling import slurm
from scaling.cli import app
from scaling.points import resolve_points
from scaling.records import RunDirectory, Status
from scaling.slurm import load_slurm_settings, run_job, submit_sweep
from scaling.spec import SweepError, load_sweep

SWEEP = Path(__file__).resolve().parents[2] / "sweeps" / "smoke.yaml"
SBATCH = '#!/bin/sh\ncp "$1" {folder}/submitted.sh\necho "Submitted batch job 71"\n'


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    path = tmp_path / "slurm.yaml"
    path.write_text("{hours: 1.5, nodes: 2, gpus_per_node: 4, partition: gpu, setup: [module load cuda]}")
    return path


def test_a_rank_per_gpu_unless_the_file_says_otherwise(settings_file: Path, tmp_path: Path) -> None:
    assert load_slurm_settings(settings_file).local_num_ranks == 4
    settings_file.write_text("{hours: 1, ranks_per_node: 2}")
    assert load_slurm_settings(settings_file).local_num_ranks == 2


@pytest.mark.parametrize(
    "text, told",
    [
        ("hours: 1\nnode: 2", "node: .*Known keys: hours, nodes"),
        ("nodes: 2", "hours: Field required"),
        ("", "hours"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, told: str, settings_file: Path) -> None:
    settings_file.write_text(text)
    with pytest.raises(SweepError, match=told):
        load_slurm_settings(settings_file)


def test_without_submitit_the_error_says_what_to_install(
    settings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(SweepError, match=r"pip install superclass-scaling\[slurm\]"):
        submit_sweep(SWEEP, settings_file, [], only="*", flags=[], runs=tmp_path)


def test_ranks_are_counted_by_the_file_alone(settings_file: Path) -> None:
    options = ["launch", str(SWEEP), "--slurm", str(settings_file), "--nproc", "2"]
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, ValueError) and "exclude each other" in str(result.exception)


@pytest.mark.parametrize(
    "status, rank, is_requeued",
    [(75, "0", True), (75, "1", False), (0, "0", False), (1, "0", False), (143, "0", False)],
)
def test_only_a_job_that_lost_nothing_goes_back_into_the_queue_and_only_once(
    status: int, rank: str, is_requeued: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    requeued: list[str] = []
    monkeypatch.setattr("scaling.launch.main", lambda arguments: status)
    monkeypatch.setattr(slurm, "requeue", requeued.append)
    monkeypatch.setenv("SLURM_PROCID", rank)
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    if status:
        with pytest.raises(SystemExit) as ended:
            run_job([])
        assert ended.value.code == status
    else:
        run_job([])
    assert requeued == (["71"] if is_requeued else [])


def test_a_cluster_that_forbids_requeuing_is_told_not_raised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _program(tmp_path / "scontrol", "#!/bin/sh\necho Requested operation is presently disabled >&2\nexit 1\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    slurm.requeue("71")
    said = capsys.readouterr().out
    assert "presently disabled" in said and "submit the sweep again" in said


def test_every_point_without_a_record_becomes_a_job_that_trains_it_alone(
    settings_file: Path, small_rendering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sbatch is a script here that keeps what it was given."""
    submitit = pytest.importorskip("submitit")
    _program(tmp_path / "sbatch", SBATCH.format(folder=tmp_path))
    _program(tmp_path / "srun", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SMOKE_DATA", str(small_rendering))
    points = resolve_points(load_sweep(SWEEP), num_ranks=8, ranks_per_node=4)
    failed = RunDirectory(tmp_path / "runs" / "smoke" / points[0].run_id)
    failed.path.mkdir(parents=True)
    failed.write_status(Status(state="diverged"))

    def submit(retry_failed: bool) -> dict[str, str]:
        return submit_sweep(
            SWEEP,
            settings_file,
            [],
            only="*",
            flags=["--retry-failed"] if retry_failed else [],
            runs=tmp_path / "runs",
        )

    assert submit(False) == {points[1].run_id: "71"}
    script = (tmp_path / "submitted.sh").read_text()
    for line in ("time=90", "nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "partition=gpu", "requeue"):
        assert f"#SBATCH --{line}\n" in script
    assert "#SBATCH --signal=USR2@180" in script and "\nmodule load cuda\n" in script
    folder = tmp_path / "runs" / "smoke" / "slurm"
    (pickled,) = folder.glob("71_submitted.pkl")
    job: Any = submitit.core.utils.DelayedSubmission.load(pickled)
    assert job.function is run_job
    arguments = job.args[0]
    assert f"--only={points[1].run_id}" in arguments and f"--runs={tmp_path / 'runs'}" in arguments
    assert Path(arguments[0]) == SWEEP

    assert submit(True) == {points[0].run_id: "71_0", points[1].run_id: "71_1"}
    assert json.dumps("--retry-failed") in json.dumps(
        submitit.core.utils.DelayedSubmission.load(folder / "71_0_submitted.pkl").args[0]
    )


def test_a_point_that_branches_from_another_waits_in_the_queue_for_its_job(
    settings_file: Path, small_rendering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    counting = 'echo x >> {folder}/count; cp "$1" {folder}/$(wc -l < {folder}/count).sh\n'
    numbered = 'echo "Submitted batch job 7$(wc -l < {folder}/count)"\n'
    _program(tmp_path / "sbatch", ("#!/bin/sh\n" + counting + numbered).format(folder=tmp_path))
    _program(tmp_path / "srun", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SMOKE_DATA", str(small_rendering))
    file = tmp_path / "wsd.yaml"
    file.write_text(SWEEP.read_text().replace("  samples_seen: 256\n", "  schedule: wsd\n"))
    changes = ["samples_seen=[256, 512, 1024]", "objective=clip"]
    points = resolve_points(load_sweep(file, changes), num_ranks=8, ranks_per_node=4)
    submitted = submit_sweep(file, settings_file, changes, only="*", flags=[], runs=tmp_path / "runs")
    assert submitted == {point.run_id: f"7{number}" for number, point in enumerate(points, 1)}
    scripts = [(tmp_path / f"{number}.sh").read_text() for number in (1, 2, 3)]
    assert "dependency" not in scripts[0]
    assert "#SBATCH --dependency=afterany:71\n" in scripts[1] and "#SBATCH --requeue\n" in scripts[1]
    assert "#SBATCH --dependency=afterany:72\n" in scripts[2]


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
