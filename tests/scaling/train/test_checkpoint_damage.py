"""Checkpoints on disks and machines that fail: what is continued, what is said, what is never lost."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import xxhash
from cut_engine import CutEngine, a_state, equal, even_cuts, joined, on_ranks

import scaling.checkpoints.writing
from scaling.checkpoints.contents import DamagedCheckpoint, UnreadableCheckpoint, sealed
from scaling.checkpoints.names import steps_in
from scaling.checkpoints.publishing import KeepRule
from scaling.checkpoints.reading import Checkpoint
from scaling.checkpoints.saving import Saving
from scaling.checkpoints.writing import copy_of_pieces, write_share
from scaling.processes.lease import Lease, LeaseLost, check_lease
from scaling.records import RunDirectory, WriteError
from scaling.train.checkpoint import Checkpointer
from scaling.train.checkpoint_choice import NoGoodCheckpoint
from scaling.train.idf import DocumentFrequencies
from scaling.train.progress import Progress
from scaling.train.rank_group import RankGroup

Damage = Callable[[Path], object]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def a_checkpointer(
    run: RunDirectory, seed: int = 0, group: RankGroup = RankGroup(rank=0, num_ranks=1)
) -> tuple[Checkpointer, CutEngine]:
    state = a_state(seed)
    engine: Any = CutEngine(state, even_cuts(state, group.num_ranks), group.rank)
    statistics = DocumentFrequencies(4, torch.device("cpu"))
    keep = KeepRule(latest=2, every_samples=0, global_batch=8)
    checkpointer = Checkpointer(
        run, engine, statistics, group=group, seed=0, keep=keep, environment=lambda: {}
    )
    return checkpointer, engine


def save(run: RunDirectory, *steps: int) -> None:
    """Checkpoints of these steps, each with the state of seed `step`."""
    for step in steps:
        a_checkpointer(run, seed=step)[0].save(Progress(num_ranks=1, step=step), wait=True)


def continued(run: RunDirectory) -> Progress:
    """What a new attempt continues from; its weights are checked to be that step's."""
    checkpointer, engine = a_checkpointer(run)
    engine.forget()
    progress = checkpointer.restore()
    assert equal(joined([engine], a_state()), a_state(progress.step))
    return progress


def _flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a flipped bit of a weight": (
        lambda folder: _flip(folder / "rank-00000.safetensors", -3),
        r"rank-00000.safetensors: .* differs from its checksum",
    ),
    "a flipped bit where the data file says what it holds": (
        lambda folder: _flip(folder / "rank-00000.safetensors", 12),
        "rank-00000.safetensors cannot be read",
    ),
    "a cut data file": (
        lambda folder: os.truncate(folder / "rank-00000.safetensors", 500),
        r"rank-00000.safetensors has 500 bytes instead of",
    ),
    "a data file that is gone": (
        lambda folder: (folder / "rank-00000.safetensors").unlink(),
        r"rank-00000.safetensors cannot be read \(No such file",
    ),
    "a flipped bit of a manifest": (
        lambda folder: _flip(folder / "rank-00000.json", 100),
        "rank-00000.json is cut or changed",
    ),
    "an empty manifest": (
        lambda folder: os.truncate(folder / "rank-00000.json", 0),
        "rank-00000.json is cut or changed",
    ),
    "another step in the header": (
        lambda folder: (folder / "checkpoint.json").write_text(
            (folder / "checkpoint.json").read_text().replace('"step":2', '"step":3')
        ),
        "checkpoint.json is cut or changed",
    ),
    "a header that is gone": (
        lambda folder: (folder / "checkpoint.json").unlink(),
        "checkpoint.json cannot be read",
    ),
    "a manifest of another save": (
        lambda folder: shutil.copy(folder.parent / "step-000000001" / "rank-00000.json", folder),
        "rank-00000.json is cut or changed",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_left_out_with_a_warning_and_the_one_before_continued(
    run: RunDirectory, name: str
) -> None:
    save(run, 1, 2)
    damage, message = DAMAGES[name]
    damage(run.checkpoints / "step-000000002")
    progress = continued(run)
    assert progress.step == 1 and len(progress.warnings) == 1
    assert re.match(
        f"checkpoint step-000000002 is damaged and was left out: .*{message}", progress.warnings[0]
    )


@pytest.mark.parametrize("damaged", range(3))
def test_whichever_rank_wrote_the_damaged_file_one_of_the_ranks_now_there_finds_it(
    run: RunDirectory, damaged: int
) -> None:
    def save_with(group: RankGroup) -> None:
        for step in (1, 2):
            checkpointer, _ = a_checkpointer(run, seed=step, group=group)
            checkpointer.save(Progress(num_ranks=3, step=step), wait=True)

    def restore_with(group: RankGroup) -> Progress:
        return a_checkpointer(run, group=group)[0].restore()

    on_ranks(3, save_with)
    _flip(run.checkpoints / "step-000000002" / f"rank-{damaged:05d}.safetensors", -3)
    found = on_ranks(2, restore_with)
    assert [progress.step for progress in found] == [1, 1] and found[0].warnings == found[1].warnings
    assert f"rank-{damaged:05d}.safetensors" in found[0].warnings[0]


def test_files_that_a_shared_file_system_shows_late_are_waited_for(run: RunDirectory) -> None:
    save(run, 1)
    folder = run.checkpoints / "step-000000001"
    seal = Checkpoint.open(folder).seal
    hidden = folder.rename(folder.with_name("hidden"))
    with pytest.raises(DamagedCheckpoint, match="checkpoint.json cannot be read"):
        Checkpoint.open(folder, seal=seal)
    threading.Timer(0.5, lambda: hidden.rename(folder)).start()
    assert Checkpoint.open(folder, seal=seal, patience_seconds=60).header.progress["step"] == 1


def test_a_checkpoint_of_newer_code_is_refused_and_kept(run: RunDirectory) -> None:
    save(run, 1)
    path = run.checkpoints / "step-000000001" / "checkpoint.json"
    header = Checkpoint.open(path.parent).header
    path.write_text(sealed(header.model_copy(update={"progress": {**header.progress, "naps": 3}})))
    with pytest.raises(UnreadableCheckpoint, match="counts naps, which this version does not know"):
        continued(run)
    path.write_text(sealed(header).replace('"version":1', '"edition":2').split("\n")[0])
    line = path.read_text()
    path.write_text(f"{line}\n{xxhash.xxh64_hexdigest(line)}\n")
    with pytest.raises(UnreadableCheckpoint, match="in a format that this version does not know"):
        continued(run)
    assert steps_in(run.checkpoints) == [1]


def test_a_checkpoint_of_before_bytes_were_counted_is_continued_and_does_not_guess_them(
    run: RunDirectory,
) -> None:
    save(run, 1)
    path = run.checkpoints / "step-000000001" / "checkpoint.json"
    header = Checkpoint.open(path.parent).header
    assert header.progress["data_bytes"] == 0
    older = {name: value for name, value in header.progress.items() if name != "data_bytes"}
    path.write_text(sealed(header.model_copy(update={"progress": older})))
    assert continued(run).data_bytes is None


def test_the_good_checkpoint_outlives_the_damaged_one(run: RunDirectory) -> None:
    """Two are kept: after the next save those are the new one and the good one, whatever the damaged one's number."""
    save(run, 1, 5)
    _flip(run.checkpoints / "step-000000005" / "rank-00000.safetensors", -3)
    assert continued(run).step == 1 and run.latest_checkpoint() == run.checkpoints / "step-000000001"
    assert continued(run).warnings == continued(run).warnings != [], "also if killed before the next save"
    save(run, 3)
    assert steps_in(run.checkpoints) == [1, 3] and continued(run).step == 3
    assert not list(run.checkpoints.glob("damaged-*")), "deleted with the next whole one"


def test_no_good_checkpoint_is_an_error_and_never_a_silent_restart(run: RunDirectory) -> None:
    save(run, 1, 2)
    for step in (1, 2):
        _flip(run.checkpoints / f"step-{step:09d}" / "rank-00000.safetensors", -3)
    for _ in range(2):
        with pytest.raises(
            NoGoodCheckpoint, match="no checkpoint can be read .* or delete it to train this run anew"
        ):
            continued(run)


def test_checkpoints_that_someone_took_away_are_missed(run: RunDirectory) -> None:
    save(run, 1)
    shutil.rmtree(run.checkpoints / "step-000000001")
    with pytest.raises(NoGoodCheckpoint, match="a latest checkpoint that is gone"):
        continued(run)


def test_a_disk_that_fills_up_leaves_the_checkpoint_before_in_force_and_nothing_half_written(
    run: RunDirectory,
) -> None:
    """The system refuses to let files of this process grow beyond 600 bytes, as a full disk would."""
    save(run, 1)
    checkpointer, _ = a_checkpointer(run, seed=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    try:
        with pytest.raises(WriteError, match="checkpoint not written .* the one before it is intact"):
            checkpointer.save(Progress(num_ranks=1, step=2), wait=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["latest", "step-000000001"]
    assert continued(run).step == 1
    checkpointer.save(Progress(num_ranks=1, step=2), wait=True)
    assert continued(run).step == 2, "and the same checkpointer goes on when there is room again"


def test_a_rank_whose_manifest_cannot_be_written_leaves_no_data_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It frees the space at once, for those that must still write what happened."""

    def full(path: Path, text: str) -> None:
        raise WriteError(f"{path}: not written (No space left on device)")

    monkeypatch.setattr(scaling.checkpoints.writing, "write_atomically", full)
    pieces = CutEngine(a_state(), even_cuts(a_state(), 1), 0).pieces()
    with pytest.raises(WriteError, match="checkpoint not written .*No space left"):
        write_share(tmp_path, 0, copy_of_pieces(pieces))
    assert not list(tmp_path.iterdir())


def _kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Kill this process, so to speak, just before its rename or deletion of that number."""
    left = [number]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return original(*arguments, **options)

        return call

    for module, name in ((os, "replace"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))


@pytest.mark.parametrize("number", range(14))
@pytest.mark.parametrize("step", [2, 3])
def test_wherever_publishing_is_killed_the_next_attempt_finds_a_whole_checkpoint(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, number: int, step: int
) -> None:
    """Of a new step (3), or in place of the same step of an earlier attempt (2)."""
    save(run, 1, 2)
    checkpointer, _ = a_checkpointer(run, seed=step)
    # In this thread, so that the kill ends it as it ends a process.
    monkeypatch.setattr(Saving, "start", Saving.run)
    monkeypatch.setattr(Saving, "join", lambda saving: None)
    with monkeypatch.context() as patches, contextlib.suppress(Killed):
        _kill_at(patches, number)
        checkpointer.save(Progress(num_ranks=1, step=step), wait=True)
    assert continued(run).step in (2, step)
    save(run, 4)
    assert continued(run).step == 4
    left = [path.name for path in run.checkpoints.iterdir()]
    assert all(re.fullmatch(r"step-\d+|latest|\.latest\..*", name) for name in left), left


def test_a_launcher_that_lost_its_lease_publishes_nothing(run: RunDirectory) -> None:
    """It slept while it wrote; its successor saved the same step; what it wrote must not replace that."""
    run.path.mkdir()
    lease = Lease.acquire(run.path)
    assert lease is not None
    sleeper = RunDirectory(run.path, lambda: check_lease(run.path, lease.token))
    checkpointer, _ = a_checkpointer(sleeper, seed=1)
    checkpointer.save(Progress(num_ranks=1, step=1), wait=True)
    lease.release()
    assert Lease.acquire(run.path) is not None
    save(run, 2)
    with pytest.raises(LeaseLost):
        checkpointer.save(Progress(num_ranks=1, step=2), wait=True)
    assert continued(run).step == 2 and steps_in(run.checkpoints) == [1, 2]


def test_the_lease_is_checked_before_every_rename_and_deletion(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens in the folder of checkpoints while one replaces the same step and lets an older one go."""
    save(run, 1, 2, 3)
    events: list[str] = []
    rename = os.replace

    def noting(source: Any, target: Any) -> None:
        if Path(target).parent == run.checkpoints:
            events.append(f"{Path(source).name[:14]} -> {Path(target).name[:14]}")
        rename(source, target)

    run.check_lease = lambda: events.append("check")
    monkeypatch.setattr(os, "replace", noting)
    save(run, 3)
    renames = [number for number, event in enumerate(events) if event != "check"]
    assert len(renames) == 4, events  # out of the way, into place, latest, the replaced one away
    assert all(events[number - 1] == "check" for number in renames), events
