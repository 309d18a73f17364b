"""Chooses the checkpoint that a run continues from: the newest that all ranks find intact."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from scaling.checkpoints.contents import DamagedCheckpoint
from scaling.checkpoints.names import folder_name, steps_in
from scaling.checkpoints.publishing import damaged_folder, replaced_folder
from scaling.checkpoints.reading import Checkpoint
from scaling.records import RunDirectory, write_atomically
from scaling.train.rank_group import RankGroup

PATIENCE_SECONDS = 60.0
"""For files that rank 0 sees and another rank does not yet: NFS clients may remember for 60 s that a name was not
there (acdirmax in nfs(5))."""

DAMAGE = "damage.txt"  # in a checkpoint set aside: what is wrong with it

NOT_COMPARED = ("host",)  # of the environment: a run may continue on any machine


class NoGoodCheckpoint(RuntimeError):
    """A run has checkpoints and none of them can be read."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Offer:
    """What rank 0 found: the newest checkpoint that looks whole."""

    name: str
    seal: str


def choose_checkpoint(run: RunDirectory, group: RankGroup) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose every file is whole, and a warning for each newer one; None for a new run.

    Each file is verified by one rank. Raises NoGoodCheckpoint, UnreadableCheckpoint; called by all ranks.
    """
    group.rank_0_decides(lambda: _undo_replacements(run))
    while (offer := group.rank_0_decides(lambda: _newest(run))) is not None:
        checkpoint, damage = _examine(run.checkpoints / offer.name, offer.seal, group)
        found = next((text for text in group.gather(damage) if text), "")
        if not found:
            group.rank_0_decides(lambda: _note_latest(run, offer.name))
            break
        group.rank_0_decides(lambda: _set_aside(run, run.checkpoints / offer.name, found))
    else:
        checkpoint = None
    return checkpoint, group.rank_0_decides(lambda: _warnings(run))


def _examine(folder: Path, seal: str, group: RankGroup) -> tuple[Checkpoint | None, str]:
    """The checkpoint, and what is wrong with this rank's share of its files ("": nothing)."""
    try:
        checkpoint = Checkpoint.open(
            folder, seal=seal, patience_seconds=0.0 if group.rank == 0 else PATIENCE_SECONDS
        )
        checkpoint.verify(range(group.rank, checkpoint.num_ranks, group.num_ranks))
    except DamagedCheckpoint as error:
        return None, str(error)
    return checkpoint, ""


def _newest(run: RunDirectory) -> _Offer | None:
    """On rank 0: the newest checkpoint that looks whole; newer ones are set aside. None for a new run."""
    for step in reversed(steps_in(run.checkpoints)):
        folder = run.checkpoints / folder_name(step)
        try:
            return _Offer(name=folder.name, seal=Checkpoint.open(folder).seal)
        except DamagedCheckpoint as error:
            _set_aside(run, folder, str(error))
    warnings = _warnings(run)
    if warnings or (run.checkpoints / "latest").exists():
        found = "; ".join(warnings) or "the folder names a latest checkpoint that is gone"
        raise NoGoodCheckpoint(
            f"{run.checkpoints}: no checkpoint can be read ({found}). Restore the folder from a copy, or delete it to "
            "train this run anew."
        )
    return None


def _note_latest(run: RunDirectory, name: str) -> None:
    """Make the folder's pointer to its latest checkpoint right again after damage or a kill."""
    latest = run.checkpoints / "latest"
    if not latest.exists() or latest.read_text() != name:
        run.check_lease()
        write_atomically(latest, name)


def _set_aside(run: RunDirectory, folder: Path, damage: str) -> None:
    """Set a damaged checkpoint aside, until the next one is complete."""
    write_atomically(folder / DAMAGE, damage)
    run.check_lease()
    os.replace(folder, damaged_folder(folder))


def _warnings(run: RunDirectory) -> list[str]:
    """One for each damaged checkpoint still here, so that neither a rollback nor a kill loses it."""
    return [
        f"checkpoint {folder.name.removeprefix('damaged-')} is damaged and was left out: "
        f"{(folder / DAMAGE).read_text()}"
        for folder in sorted(run.checkpoints.glob("damaged-*"))
    ]


def _undo_replacements(run: RunDirectory) -> None:
    """Put back a checkpoint that a killed attempt had moved to make room for another of the same step."""
    for moved in run.checkpoints.glob("replaced-step-*"):
        folder = moved.with_name(moved.name.removeprefix("replaced-"))
        assert replaced_folder(folder) == moved
        if not folder.exists():
            run.check_lease()
            os.replace(moved, folder)


def changes_of_environment(written: Mapping[str, str], now: Mapping[str, str], step: int) -> list[str]:
    """A warning if other code, libraries or devices continue than wrote the checkpoint of `step`."""
    names = sorted({*written, *now} - {*NOT_COMPARED})
    changed = [
        f"{name} {written.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in names
        if written.get(name) != now.get(name)
    ]
    return [f"the environment changed at step {step:,}: {', '.join(changed)}"] if changed else []
