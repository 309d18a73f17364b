"""Whole studies through DeepSpeed's launcher on two ranks: trained, killed, continued, reported."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scaling.checkpoints.reading import Checkpoint
from scaling.data.rendering.rendered import rendered_sample
from scaling.data.shards import IMAGE_TEXT_COLUMNS, merge_indexes, write_shards
from scaling.processes.residue import remove_orphans
from scaling.records import RunDirectory, RunRecord, read_lines, run_directories

pytestmark = pytest.mark.slow

Start = Callable[..., "subprocess.Popen[str]"]
TINY = (
    *("sweeps/smoke.yaml", "--set", "samples_seen=1024", "--set", "checkpoint_every_samples=256"),
    *("--set", "evaluate.held_out_every_samples=512", "--set", "precision=fp32"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What a launch left behind."""

    status: int
    output: str
    runs: dict[str, RunDirectory]  # by objective

    def record(self, objective: str) -> RunRecord:
        record = self.runs[objective].read_record()
        assert record is not None, self.output
        return record


def _study(process: subprocess.Popen[str], output: Path, folder: Path) -> Study:
    status = process.wait(timeout=400)
    runs = {run.path.name.split("-")[0]: run for run in run_directories(folder / "smoke")}
    return Study(status=status, output=output.read_text(), runs=runs)


def _traces() -> set[str]:
    """Names in shared memory and processes that a finished launch must not leave."""
    names = {name for name in os.listdir("/dev/shm") if re.match(r"deepspeed_allreduce|\d{6}_|sem\.", name)}
    listing = subprocess.run(["ps", "-eo", "pid,sid,args"], capture_output=True, text=True, check=True).stdout
    ours = re.compile(r" launch .*\.yaml|multiprocessing\.forkserver")
    own_session = str(os.getsid(0))  # other tests' helpers; launches have sessions of their own
    lines = (line for line in listing.splitlines() if ours.search(line) and line.split()[1] != own_session)
    return names | set(lines)


BEFORE = _traces()  # of whoever else uses this machine


def _left_behind() -> set[str]:
    return _traces() - BEFORE


def _wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def _rows(run: RunDirectory, name: str) -> list[dict[str, Any]]:
    return list(read_lines(run.path / name))


@pytest.fixture(scope="module")
def finished(
    start_deepspeed: Start, small_rendering: Path, tmp_path_factory: pytest.TempPathFactory
) -> Study:
    """Both objectives trained without disturbance."""
    folder = tmp_path_factory.mktemp("finished")
    output = folder / "output.txt"
    process = start_deepspeed(*TINY, "--runs", folder, num_ranks=2, output=output, SMOKE_DATA=small_rendering)
    return _study(process, output, folder)


def test_every_point_ends_with_a_record_of_what_was_asked_planned_and_measured(finished: Study) -> None:
    assert finished.status == 0, finished.output
    assert set(finished.runs) == {"superclass", "clip"}
    for objective, run in finished.runs.items():
        record = finished.record(objective)
        assert record.measured.samples_seen == 1024 and record.measured.num_ranks == 2
        assert record.data.unique_samples == 300 and record.data.epochs > 3
        assert record.planned.train_flops > 0 and record.measured.train_seconds > 0
        assert run.read_status().state == "done"


def test_each_objective_is_evaluated_by_its_own_tasks(finished: Study) -> None:
    tasks = {name: {row.task for row in finished.record(name).evaluations} for name in finished.runs}
    assert tasks["clip"] == {"held_out_loss", "linear_probe", "zero_shot", "retrieval"}
    assert tasks["superclass"] == {"held_out_loss", "linear_probe", "zero_shot_head", "retrieval_head"}


def test_metrics_tensorboard_and_ledger_tell_every_step(finished: Study) -> None:
    for run in finished.runs.values():
        rows, ledger = _rows(run, "metrics.jsonl"), _rows(run, "samples.jsonl")
        metrics = [row for row in rows if "loss" in row]
        assert {"loss", "learning_rate", "samples_per_second", "gradient_norm"} <= metrics[-1].keys()
        assert metrics[-1]["loss"] < metrics[0]["loss"]
        held_out = {row["samples_seen"]: row["held_out_loss"] for row in rows if "held_out_loss" in row}
        assert held_out.keys() == {512, 1024} and held_out[1024] < held_out[512]
        assert [row["step"] for row in ledger] == list(range(32))
        assert (ledger[0]["first"], ledger[-1]["last"]) == (0, 1023)
        assert list(run.tensorboard.glob("events.*"))


def test_both_objectives_see_the_same_samples_in_the_same_order(finished: Study) -> None:
    superclass, clip = (_rows(finished.runs[name], "samples.jsonl") for name in ("superclass", "clip"))
    assert superclass == clip


def test_gradients_are_not_clipped_unless_the_sweep_says_so(finished: Study) -> None:
    """DeepSpeed clips at 1.0 if nobody speaks; the recipe does not clip."""
    science = finished.record("clip").science
    assert science["gradient_clipping"] == 0.0
    point = json.loads(finished.runs["clip"].point.read_text())
    assert point["placement"]["engine"] == "deepspeed" and point["placement"]["zero_stage"] == 1


def test_the_report_is_one_page_with_the_planned_and_the_measured(finished: Study, tmp_path: Path) -> None:
    from analysis.report import write_report

    page = write_report(finished.runs["clip"].path.parent, tmp_path / "report.html").read_text()
    assert all(run.path.name in page for run in finished.runs.values())
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page


def test_nothing_is_left_in_shared_memory_or_the_process_table(finished: Study) -> None:
    assert finished.status == 0
    _wait_for(lambda: not _left_behind(), seconds=15)


def test_one_and_two_ranks_train_the_same_model_on_the_same_samples(
    finished: Study, start_deepspeed: Start, small_rendering: Path, tmp_path: Path
) -> None:
    """CLIP's negatives, IDF counts, gradient averaging and the sample order do not depend on the world size."""
    output = tmp_path / "output.txt"
    process = start_deepspeed(
        *TINY, "--runs", tmp_path, num_ranks=1, output=output, SMOKE_DATA=small_rendering
    )
    single = _study(process, output, tmp_path)
    assert single.status == 0, single.output
    for name, run in finished.runs.items():
        assert single.record(name).run_id == finished.record(name).run_id, "the same point is the same run"
        assert _rows(single.runs[name], "samples.jsonl") == _rows(run, "samples.jsonl")
        for key, tolerance in (("loss", 1e-4), ("gradient_norm", 1e-3), ("held_out_loss", 1e-4)):
            one, two = (_column(source, key) for source in (single.runs[name], run))
            assert one == pytest.approx(two, rel=tolerance) and len(one) >= 2
    one, two = (_label_counts(study.runs["superclass"]) for study in (single, finished))
    assert one["num_samples"] == 1024 and torch.equal(one["counts_V"], two["counts_V"])


def _label_counts(run: RunDirectory) -> dict[str, torch.Tensor]:
    """The document frequencies in the last checkpoint."""
    folder = run.latest_checkpoint()
    assert folder is not None
    return Checkpoint.open(folder).own("label_statistics", rank=0)


def _column(run: RunDirectory, key: str) -> list[float]:
    return [row[key] for row in _rows(run, "metrics.jsonl") if key in row]


def test_a_killed_rank_harms_one_point_only_and_the_same_command_finishes_the_study_exactly(
    finished: Study, start_deepspeed: Start, small_rendering: Path, tmp_path: Path
) -> None:
    """kill -9 of rank 1's child after the first checkpoint; then the same command; same losses, same samples."""
    output = tmp_path / "output.txt"

    def start() -> subprocess.Popen[str]:
        return start_deepspeed(
            *TINY, "--runs", tmp_path, num_ranks=2, output=output, SMOKE_DATA=small_rendering
        )

    process = start()
    first = _wait_for(
        lambda: [run for run in run_directories(tmp_path / "smoke") if run.checkpoints.exists()]
    )[0]
    _wait_for(lambda: (first.checkpoints / "latest").exists())
    os.kill(_child_of(first, rank=1), signal.SIGKILL)
    study = _study(process, output, tmp_path)
    assert study.status == 1, study.output
    hurt, other = first.path.name.split("-")[0], {"superclass": "clip", "clip": "superclass"}
    assert study.runs[hurt].read_status().state == "killed"
    assert "SIGKILL" in study.runs[hurt].read_status().reason
    assert study.runs[other[hurt]].read_record() is not None, "the other point was trained all the same"
    _wait_for(lambda: not _left_behind(), seconds=15)

    study = _study(start(), output, tmp_path)
    assert study.status == 0, study.output
    assert study.output.count("done already") == 1
    assert study.record(hurt).measured.attempts == 2
    for name in study.runs:
        assert _rows(study.runs[name], "samples.jsonl") == _rows(finished.runs[name], "samples.jsonl")
        losses, expected = (
            [
                (row["samples_seen"], row.get("loss"), row.get("held_out_loss"))
                for row in _rows(source.runs[name], "metrics.jsonl")
            ]
            for source in (study, finished)
        )
        assert losses == expected, "bit-identical, resumed or not"
        scores, expected_scores = (
            {row.task: row.metrics for row in source.record(name).evaluations} for source in (study, finished)
        )
        assert scores == expected_scores
    counts, expected_counts = (_label_counts(source.runs["superclass"]) for source in (study, finished))
    assert counts.keys() == expected_counts.keys()
    assert all(torch.equal(counts[key], expected_counts[key]) for key in counts), "no step was counted twice"


def test_a_run_that_lost_half_its_ranks_continues_on_the_others(
    finished: Study, start_deepspeed: Start, small_rendering: Path, tmp_path: Path
) -> None:
    """Two ranks until a kill after the first checkpoint, then one: the same losses, the same samples."""
    output = tmp_path / "output.txt"

    def start(num_ranks: int) -> subprocess.Popen[str]:
        command = (*TINY, "--only", "clip-*", "--runs", tmp_path)
        return start_deepspeed(*command, num_ranks=num_ranks, output=output, SMOKE_DATA=small_rendering)

    process = start(2)
    (run,) = _wait_for(
        lambda: [run for run in run_directories(tmp_path / "smoke") if run.checkpoints.exists()]
    )
    _wait_for(lambda: (run.checkpoints / "latest").exists())
    os.kill(_child_of(run, rank=0), signal.SIGKILL)
    assert process.wait(timeout=300) == 1, output.read_text()

    study = _study(start(1), output, tmp_path)
    assert study.status == 0, study.output
    measured = study.record("clip").measured
    assert (measured.attempts, measured.num_ranks) == (2, 1)
    assert measured.train_seconds < 3600 * measured.device_hours < 2 * measured.train_seconds
    assert _rows(run, "samples.jsonl") == _rows(finished.runs["clip"], "samples.jsonl")
    for key in ("loss", "held_out_loss", "logit_scale"):
        found, expected = (_column(source, key) for source in (run, finished.runs["clip"]))
        assert found == pytest.approx(expected, rel=1e-4) and len(found) >= 2


def _child_of(run: RunDirectory, rank: int) -> int:
    log = (run.path / f"log-rank{rank}.txt").read_text()
    return int(re.findall(r"process (\d+)", log)[-1])


def test_failures_are_typed_retried_only_on_request_and_never_cost_what_was_trained(
    start_deepspeed: Start, small_rendering: Path, tmp_path: Path
) -> None:
    """One point cannot be evaluated (its validation set has a broken picture), the other diverges."""
    data = _with_bad_samples(small_rendering, tmp_path / "data")
    output = tmp_path / "output.txt"
    rates = ("--set", "learning_rate=[1e-3,1e30]")
    command = ("sweeps/smoke.yaml", "--only", "superclass-*", *rates, "--runs", tmp_path / "runs")
    broken = ("--set", f"data.validation={data / 'broken'}")
    process = start_deepspeed(*command, *broken, num_ranks=1, output=output, SMOKE_DATA=data)
    assert process.wait(timeout=300) == 1, output.read_text()
    runs = {run.read_status().state: run for run in run_directories(tmp_path / "runs" / "smoke")}
    assert runs.keys() == {"error", "diverged"}
    assert "train-000000003" in runs["error"].read_status().reason
    assert re.search("not finite|nan", runs["diverged"].read_status().reason)
    trained = _rows(runs["error"], "metrics.jsonl")

    process = start_deepspeed(*command, "--retry-failed", num_ranks=1, output=output, SMOKE_DATA=data)
    assert process.wait(timeout=300) == 1, output.read_text()
    record = runs["error"].read_record()
    assert record is not None and record.final_loss == trained[-1]["loss"]
    assert _rows(runs["error"], "metrics.jsonl") == trained, "nothing was trained again"
    assert (record.data.undecodable_images, record.data.empty_captions) == (
        2,
        2,
    ), "256 samples: each of 128 twice"
    status = runs["diverged"].read_status()
    assert (status.state, status.attempts) == ("diverged", 2)


def _with_bad_samples(source: Path, folder: Path) -> Path:
    """A copy of a data set whose training part is 128 samples, one not decodable and one without a caption.

    A third set, "broken", has the picture that does not decode, but every caption.
    """
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "train")
    samples = [rendered_sample(0, "train", index, 32) for index in range(128)]
    samples[3]["jpg"] = b"not a picture"
    for name, caption in (("broken", samples[4]["caption"]), ("train", " ")):
        samples[4]["caption"] = caption
        part = folder / name / "part-00000"
        part.mkdir(parents=True)
        write_shards(part, IMAGE_TEXT_COLUMNS, samples, size_limit=2**20)
        merge_indexes(part.parent, [part])
    return folder


def test_no_process_outlives_its_launcher_however_that_ends(
    start_deepspeed: Start, small_rendering: Path, tmp_path: Path
) -> None:
    """Three launches at once on one machine, ended in three ways.

    DeepSpeed leaves its ranks running when its runner gets a SIGTERM; ours notice, checkpoint and end. Ctrl-C reaches
    everybody, twice. A killed parent cannot clean up; the next launch does.
    """
    launches = {}
    for victim in ("runner", "everybody", "rank's parent"):
        (tmp_path / victim).mkdir()
        launches[victim] = start_deepspeed(
            *("sweeps/smoke.yaml", "--set", "samples_seen=1M", "--runs", tmp_path / victim),
            num_ranks=1,
            output=tmp_path / victim / "output.txt",
            SMOKE_DATA=small_rendering,
        )
    runs = {victim: _wait_for(lambda v=victim: _running(tmp_path / v / "smoke")) for victim in launches}
    children = {victim: _child_of(run, rank=0) for victim, run in runs.items()}
    # over fork servers
    parents = {victim: _parent_of(_parent_of(child)) for victim, child in children.items()}
    os.kill(launches["runner"].pid, signal.SIGTERM)
    os.killpg(launches["everybody"].pid, signal.SIGINT)
    os.kill(parents["rank's parent"], signal.SIGKILL)
    for process in launches.values():
        process.wait(timeout=60)
    _wait_for(lambda: not any(map(_exists, (*children.values(), *parents.values()))), seconds=60)
    assert remove_orphans(Path(tempfile.gettempdir())) == 1
    states = {victim: run.read_status().state for victim, run in runs.items()}
    assert states == {"runner": "preempted", "everybody": "preempted", "rank's parent": "running"}
    assert all(runs[victim].latest_checkpoint() for victim in ("runner", "everybody"))
    _wait_for(lambda: not _left_behind(), seconds=15)


def _running(folder: Path) -> RunDirectory | None:
    """The run that already trains."""
    return next((run for run in run_directories(folder) if run.metrics.exists()), None)


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # a zombie has ended; its new parent has not asked yet


def test_a_sweep_told_to_stop_ends_with_75_and_the_same_command_finishes_it_exactly(
    finished: Study, small_rendering: Path, tmp_path: Path
) -> None:
    """SIGUSR1 to the supervisor after the first checkpoint; nothing is lost, repeated or left behind."""
    scaling = str(Path(sys.executable).with_name("scaling"))
    command = [scaling, "launch", *TINY, "--nproc", "2", "--only", "superclass-*", "--runs", str(tmp_path)]
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "SMOKE_DATA": str(small_rendering)}
    supervisor = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    (run,) = _wait_for(lambda: run_directories(tmp_path / "smoke"))
    _wait_for(lambda: run.latest_checkpoint())
    supervisor.send_signal(signal.SIGUSR1)
    output, _ = supervisor.communicate(timeout=120)
    assert supervisor.returncode == 75, output
    assert run.read_status().state == "preempted" and "preempted, run the same command again" in output
    _wait_for(lambda: not _left_behind(), seconds=15)

    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = finished.runs["superclass"]
    assert _rows(run, "samples.jsonl") == _rows(expected, "samples.jsonl")
    for key in ("loss", "held_out_loss"):
        found = {row["samples_seen"]: row[key] for row in _rows(run, "metrics.jsonl") if key in row}
        straight = {row["samples_seen"]: row[key] for row in _rows(expected, "metrics.jsonl") if key in row}
        assert found == straight, "bit-identical"


def test_without_data_the_papers_sweep_stops_in_seconds_and_says_what_to_do(
    start_deepspeed: Start, tmp_path: Path
) -> None:
    output = tmp_path / "output.txt"
    process = start_deepspeed("sweeps/model_scale.yaml", "--runs", tmp_path, output=output)
    assert process.wait(timeout=60) == 2
    said = output.read_text()
    assert "data.train is not set" in said and "scaling data convert SRC DST" in said
    assert not (tmp_path / "model_scale").exists()


def test_with_overrides_to_tiny_values_the_papers_sweep_trains_under_supervision(
    small_rendering: Path, tmp_path: Path
) -> None:
    tiny = {
        "image_tower": "vit_nano8",
        "image_size": 32,
        "samples_seen": 256,
        "global_batch": 32,
        "warmup_samples": 64,
        "tokenizer": "clip_bpe_4k",
        "data.train": small_rendering / "train",
        "data.validation": small_rendering / "validation",
        "evaluate.batch": 32,
    }
    settings = [word for key, value in tiny.items() for word in ("--set", f"{key}={value}")]
    scaling = Path(sys.executable).with_name("scaling")
    done = subprocess.run(
        [scaling, "launch", "sweeps/model_scale.yaml", *settings, "--runs", tmp_path],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 points done" in done.stdout
