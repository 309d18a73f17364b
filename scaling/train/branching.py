"""A run that begins where another of its trunk stands, instead of training the same steps again.

Until the first of them decays, the runs of a trunk (schedule wsd) are one run.  A new one takes a checkpoint of
another as its own first checkpoint, with the rows of metrics and the sample ledger up to there, and continues from it
as it would from any other: exactly.  What it took stands in `branch.json`.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from scaling.checkpoints.contents import DamagedCheckpoint, UnreadableCheckpoint
from scaling.checkpoints.names import folder_name, steps_in
from scaling.checkpoints.publishing import make_aside, make_latest
from scaling.checkpoints.reading import Checkpoint
from scaling.disk import sync_to_disk
from scaling.records import RunDirectory, read_lines, write_atomically
from scaling.train.goodput import TRAINING
from scaling.train.progress import Progress
from scaling.trunks import Branch

FILE = "branch.json"

_log = logging.getLogger(__name__)


class BranchPoint(BaseModel):
    """Where a run left its trunk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str  # of the run whose checkpoint it took
    step: int  # of that checkpoint
    device_seconds: float  # that had gone into it


def branch_off(run: RunDirectory, branches: Sequence[Branch], global_batch: int) -> None:
    """On rank 0: give a run without a checkpoint the latest that it shares with others of its sweep, if there is one.

    A checkpoint that is damaged, or that its run deletes meanwhile, is passed over with a line in the log.
    """
    if _has_begun(run):
        return
    for step, other in _shared_checkpoints(run.path.parent, branches):
        try:
            _take(run, other, step, global_batch)
        except (DamagedCheckpoint, UnreadableCheckpoint, FileNotFoundError) as error:
            _log.warning(
                "%s cannot branch from step %d of %s: %s", run.path.name, step, other.path.name, error
            )
        else:
            return


def branch_point(run: RunDirectory) -> BranchPoint | None:
    """Where the run left its trunk; None for one that trained all its steps itself."""
    file = run.path / FILE
    return BranchPoint.model_validate_json(file.read_text()) if file.exists() else None


def without_the_trunks_account(progress: Progress, run: RunDirectory) -> Progress:
    """The progress with an account of seconds that begins at the branch, where it is still the other run's."""
    branch = branch_point(run)
    if branch is not None and progress.step == branch.step:
        progress.goodput = {phase: progress.goodput.get(phase, 0.0) for phase in TRAINING}
    return progress


def _has_begun(run: RunDirectory) -> bool:
    """Whether there is a checkpoint, or was one: what became of it is for the run's own restoring to say."""
    return any(run.checkpoints.glob("*step-*[0-9]")) or (run.checkpoints / "latest").exists()


def _shared_checkpoints(sweep_folder: Path, branches: Iterable[Branch]) -> list[tuple[int, RunDirectory]]:
    """Steps of checkpoints of other runs that were written before either run decays, the latest first."""
    others = [(branch, RunDirectory(sweep_folder / branch.run_id)) for branch in branches]
    found = [
        (step, other)
        for branch, other in others
        for step in steps_in(other.checkpoints)
        if step <= branch.steps
    ]
    return sorted(found, key=lambda candidate: -candidate[0])


def _take(run: RunDirectory, other: RunDirectory, step: int, global_batch: int) -> None:
    source = other.checkpoints / folder_name(step)
    checkpoint = Checkpoint.open(source)
    checkpoint.verify(range(checkpoint.num_ranks))
    aside = make_aside(run, step)
    for file in source.iterdir():
        _link(file, aside / file.name)
    sync_to_disk(aside)
    _copy_lines(run, other.metrics, run.metrics, "samples_seen", step * global_batch)
    _copy_lines(run, other.samples, run.samples, "step", step - 1)
    spent = float(checkpoint.header.progress["device_seconds"])
    told = BranchPoint(run_id=other.path.name, step=step, device_seconds=spent)
    write_atomically(run.path / FILE, told.model_dump_json(indent=1))
    make_latest(run, aside, step)


def _link(source: Path, target: Path) -> None:
    """The same bytes under another name; a copy where the file system cannot. Checkpoints are never written again."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)


def _copy_lines(run: RunDirectory, source: Path, target: Path, key: str, last: int) -> None:
    """Replace a file of the run's by the lines of another's whose `key` is at most `last`."""
    rows: list[Mapping[str, Any]] = [row for row in read_lines(source) if row[key] <= last]
    run.check_lease()
    write_atomically(target, "".join(json.dumps(row) + "\n" for row in rows))
