"""Makes a written checkpoint the run's latest, and deletes old ones.

Rank 0 does this alone, in a thread: it waits for the other ranks' files on the file system that all share.
"""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from scaling.checkpoints.contents import HEADER, Entry, Manifest, manifest_file, seal_of, unsealed
from scaling.checkpoints.names import folder_name, steps_in
from scaling.disk import sync_entry
from scaling.records import RunDirectory, WriteError, write_atomically

WAIT_SECONDS = 30 * 60.0  # for the slowest rank's file: as long as a collective may take (train.main)
POLL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class KeepRule:
    """Which checkpoints are kept."""

    latest: int  # this many of the latest
    every_samples: int  # and, for ever, the first at or after each multiple of this; 0 = none
    global_batch: int  # samples per step
    branch_step: int | None = None  # and, for ever, the one of this step, from which other runs may branch

    def of(self, steps: Sequence[int]) -> set[int]:
        """The steps, of ascending ones, whose checkpoints are kept."""
        kept = {*steps[-self.latest :], *(step for step in steps if step == self.branch_step)}
        if self.every_samples:
            intervals = [step * self.global_batch // self.every_samples for step in steps]
            before = [0, *intervals]
            kept |= {step for step, now, last in zip(steps, intervals, before) if now > last}
        return kept


class Abandoned(RuntimeError):
    """Another rank could not write its share, so this checkpoint will never be complete."""


def wait_for_manifests(
    folder: Path, num_ranks: int, abandoned: threading.Event
) -> tuple[list[str], list[Manifest]]:
    """The seals and contents of all ranks' manifests, once the last is there; WriteError after WAIT_SECONDS."""
    deadline = time.monotonic() + WAIT_SECONDS
    while missing := _missing(folder, num_ranks):
        if abandoned.wait(POLL_SECONDS):
            raise Abandoned(f"{folder.name}: another rank failed")
        if time.monotonic() > deadline:
            ranks = ", ".join(str(rank) for rank in missing)
            raise WriteError(
                f"{folder}: after {WAIT_SECONDS:.0f} s the files of ranks {ranks} are not there. Look into their "
                "log-rank*.txt, and whether all machines see this folder."
            )
    files = [manifest_file(folder, rank) for rank in range(num_ranks)]
    return [seal_of(file.read_text()) for file in files], [unsealed(file, Manifest) for file in files]


def _missing(folder: Path, num_ranks: int) -> list[int]:
    # listing asks the file server, while a look-up of one name may be answered from a cache
    there = set(os.listdir(folder))
    return [rank for rank in range(num_ranks) if manifest_file(folder, rank).name not in there]


def check_whole(entries: Iterable[Entry]) -> None:
    """Raise RuntimeError naming a tensor unless the pieces hold each of its elements exactly once."""
    parts: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.kind != "random_state":  # each rank's own
            parts[entry.kind, entry.name].append(entry)
    for (kind, name), found in parts.items():
        reached = 0
        for entry in sorted(found, key=lambda entry: entry.start):
            if entry.start != reached:
                break
            reached += entry.length
        else:
            if reached == math.prod(found[0].shape):
                continue
        raise RuntimeError(
            f"{kind} {name} {list(found[0].shape)}: the ranks' pieces overlap or leave a gap at element {reached:,}, "
            "so no checkpoint can be made of them. The engine describes its state wrongly."
        )


def make_aside(run: RunDirectory, step: int) -> Path:
    """An empty folder in which a checkpoint of `step` may be written; what killed attempts left half-written goes."""
    run.check_lease()
    for left in run.checkpoints.glob("step-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    aside = run.checkpoints / f"{folder_name(step)}.{uuid.uuid4().hex[:8]}.tmp"
    aside.mkdir(parents=True)
    return aside


def bring_into_force(run: RunDirectory, aside: Path, step: int, header: str, keep: KeepRule) -> None:
    """Rename the complete folder `aside` to the run's checkpoint of `step`, its latest; delete those not kept.

    At every moment the run has an intact checkpoint if it had one before.  Raises WriteError, and LeaseLost if another
    launcher holds the run.
    """
    write_atomically(aside / HEADER, header)
    make_latest(run, aside, step)
    _delete_old(run, step, keep)


def make_latest(run: RunDirectory, aside: Path, step: int) -> None:
    """Rename the complete folder `aside`, header included, to the run's checkpoint of `step`, its latest.

    Raises as bring_into_force does.
    """
    folder = run.checkpoints / folder_name(step)
    try:
        sync_entry(aside)
        if folder.exists():  # the same step of an earlier attempt
            _rename(run, folder, replaced_folder(folder))
        _rename(run, aside, folder)
        sync_entry(run.checkpoints)
        run.check_lease()
        write_atomically(run.checkpoints / "latest", folder.name)
    except OSError as error:
        raise WriteError(f"{folder}: not put in force ({error}); the one before it is intact.") from error


def replaced_folder(folder: Path) -> Path:
    """Where a checkpoint waits while another of the same step takes its place."""
    return folder.with_name(f"replaced-{folder.name}")


def damaged_folder(folder: Path) -> Path:
    """Where a checkpoint that cannot be read is kept until the next one is complete."""
    return folder.with_name(f"damaged-{folder.name}")


def _delete_old(run: RunDirectory, step: int, keep: KeepRule) -> None:
    """Delete checkpoints that `keep` does not keep, and those after `step`, whose steps were undone."""
    steps = steps_in(run.checkpoints)
    kept = keep.of([number for number in steps if number <= step])
    old = [run.checkpoints / folder_name(number) for number in steps if number not in kept]
    for folder in (*old, *run.checkpoints.glob("replaced-*"), *run.checkpoints.glob("damaged-*")):
        _delete(run, folder)


def _delete(run: RunDirectory, folder: Path) -> None:
    """Rename a checkpoint, then delete it: a half-deleted one must not look like one to fall back to."""
    aside = folder.with_name(f"step-{folder.name}.tmp")
    try:
        _rename(run, folder, aside)
    except OSError:  # in use elsewhere: the next checkpoint tries again
        return
    shutil.rmtree(aside, ignore_errors=True)


def _rename(run: RunDirectory, folder: Path, target: Path) -> None:
    """Rename a folder, unless another launcher holds the run; LeaseLost then."""
    run.check_lease()
    shutil.rmtree(target, ignore_errors=True)
    os.replace(folder, target)
