"""A run that begins with a checkpoint of another, on disks and beside launchers that do as they like."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cut_engine import CutEngine, a_state, equal, even_cuts, joined

from scaling.checkpoints.names import folder_name, steps_in
from scaling.checkpoints.publishing import KeepRule
from scaling.processes.lease import LeaseLost
from scaling.records import RunDirectory, read_lines
from scaling.train.branching import BranchPoint, branch_off, branch_point, without_the_trunks_account
from scaling.train.checkpoint import Checkpointer
from scaling.train.idf import DocumentFrequencies
from scaling.train.journal import Journal
from scaling.train.progress import Progress
from scaling.train.rank_group import RankGroup
from scaling.trunks import Branch

BATCH = 8
GOODPUT = {"initialisation": 5.0, "productive": 20.0, "data_stall": 1.0, "lost": 3.0}

Sweep = Callable[[str], RunDirectory]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return lambda name: RunDirectory(tmp_path / name)


def checkpointer_of(run: RunDirectory, seed: int = 0) -> tuple[Checkpointer, CutEngine]:
    state = a_state(seed)
    engine: Any = CutEngine(state, even_cuts(state, 1), 0)
    keep = KeepRule(latest=1, every_samples=0, global_batch=BATCH, branch_step=4)
    group = RankGroup(rank=0, num_ranks=1)
    statistics = DocumentFrequencies(4, torch.device("cpu"))
    made = Checkpointer(run, engine, statistics, group=group, seed=0, keep=keep, environment=lambda: {})
    return made, engine


def train(run: RunDirectory, *steps: int) -> None:
    """What training leaves at these steps: rows for every step, checkpoints with the state of seed `step`."""
    for step in range(1, steps[-1] + 1):
        run.path.mkdir(exist_ok=True)
        run.append(run.metrics, [{"step": step, "samples_seen": step * BATCH, "loss": 1 / step}])
        run.append(run.samples, [{"step": step - 1, "ids_hash": f"{step:016x}"}])
        if step in steps:
            progress = Progress(num_ranks=1, step=step, device_seconds=7.0 * step, goodput=dict(GOODPUT))
            checkpointer_of(run, seed=step)[0].save(progress, wait=True)


def branches(*others: tuple[str, int]) -> tuple[Branch, ...]:
    return tuple(Branch(run_id=name, steps=steps, is_kept=True) for name, steps in others)


def restored(run: RunDirectory) -> Progress:
    checkpointer, engine = checkpointer_of(run)
    engine.forget()
    progress = checkpointer.restore()
    if progress.step:
        assert equal(joined([engine], a_state()), a_state(progress.step))
    return progress


def test_a_new_run_begins_with_the_latest_checkpoint_that_it_shares_and_the_history_up_to_it(
    sweep: Sweep,
) -> None:
    train(sweep("short"), 2)
    train(sweep("long"), 4, 6)
    run = sweep("new")
    branch_off(run, branches(("short", 2), ("long", 5)), BATCH)
    assert steps_in(run.checkpoints) == [4], "step 6 is of the other's decay"
    assert branch_point(run) == BranchPoint(run_id="long", step=4, device_seconds=28.0)
    assert [row["step"] for row in read_lines(run.metrics)] == [1, 2, 3, 4]
    assert [row["step"] for row in read_lines(run.samples)] == [0, 1, 2, 3]
    progress = without_the_trunks_account(restored(run), run)
    assert (progress.step, progress.device_seconds, progress.warnings) == (4, 28.0, [])
    assert progress.goodput == {
        "productive": 20.0,
        "data_stall": 1.0,
    }, "what the other's starts took is not this run's"


def test_the_other_run_may_go_without_harm(sweep: Sweep) -> None:
    """The checkpoint takes no space twice, and stays when the run that wrote it is deleted."""
    other, run = sweep("other"), sweep("new")
    train(other, 4)
    branch_off(run, branches(("other", 4)), BATCH)
    name = "rank-00000.safetensors"
    files = [directory.checkpoints / folder_name(4) / name for directory in (other, run)]
    assert files[0].samefile(files[1])
    for file in other.checkpoints.glob("step-*/*"):
        file.unlink()
    assert restored(run).step == 4


def test_a_file_system_without_links_gets_copies(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    train(sweep("other"), 4)
    branch_off(sweep("new"), branches(("other", 4)), BATCH)
    assert restored(sweep("new")).step == 4


def test_a_run_that_has_a_checkpoint_or_had_one_never_branches(sweep: Sweep) -> None:
    train(sweep("other"), 4)
    for name, folder in (("own", "step-000000001"), ("damaged", "damaged-step-000000001")):
        run = sweep(name)
        (run.checkpoints / folder).mkdir(parents=True)
        branch_off(run, branches(("other", 4)), BATCH)
        assert [path.name for path in run.checkpoints.iterdir()] == [folder] and branch_point(run) is None


def test_a_damaged_checkpoint_of_another_run_is_passed_over_and_left_alone(
    sweep: Sweep, caplog: pytest.LogCaptureFixture
) -> None:
    other, run = sweep("other"), sweep("new")
    train(other, 2, 4)
    train(sweep("short"), 2)
    data = other.checkpoints / folder_name(4) / "rank-00000.safetensors"
    data.write_bytes(data.read_bytes()[:-1])
    branch_off(run, branches(("other", 4), ("short", 2)), BATCH)
    assert restored(run).step == 2 and "cannot branch from step 4 of other" in caplog.text
    assert 4 in steps_in(other.checkpoints), "what is to become of it is for its own run to say"


def test_a_run_with_nothing_to_branch_from_begins_anew(sweep: Sweep) -> None:
    (sweep("other").checkpoints / "step-000000004.0123abcd.tmp").mkdir(parents=True)
    run = sweep("new")
    branch_off(run, branches(("other", 4), ("never begun", 4)), BATCH)
    assert branch_point(run) is None and restored(run).step == 0


def test_an_attempt_that_died_while_branching_branches_again(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(sweep("other"), 4)
    run = sweep("new")

    class Killed(BaseException):
        """Stands for SIGKILL."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("scaling.train.branching.os.replace", die)
        branch_off(run, branches(("other", 4)), BATCH)
    assert steps_in(run.checkpoints) == []
    branch_off(run, branches(("other", 4)), BATCH)
    assert restored(run).step == 4
    assert [path.name for path in run.checkpoints.iterdir() if path.suffix == ".tmp"] == []


def test_a_launcher_that_lost_its_lease_puts_nothing_in_place(sweep: Sweep) -> None:
    train(sweep("other"), 4)

    def lost() -> None:
        raise LeaseLost("another launcher took over")

    run = RunDirectory(sweep("new").path, lost)
    with pytest.raises(LeaseLost):
        branch_off(run, branches(("other", 4)), BATCH)
    assert not run.metrics.exists() and steps_in(run.checkpoints) == []


def test_the_checkpoint_from_which_others_branch_stays(sweep: Sweep) -> None:
    train(sweep("run"), 2, 4, 6, 8)
    assert steps_in(sweep("run").checkpoints) == [4, 8]


def test_tensorboard_shows_the_curve_from_its_first_step(sweep: Sweep) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(sweep("other"), 4)
    run = sweep("new")
    branch_off(run, branches(("other", 4)), BATCH)
    journal = Journal(run, is_main=True, first_step=4, first_sample=4 * BATCH)
    journal.log({"step": 5, "samples_seen": 5 * BATCH, "loss": 0.2})
    journal.close()
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [8, 16, 24, 32, 40]
