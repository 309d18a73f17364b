from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model_zoo.targets import LabelSets
from scaling.records import RunDirectory
from scaling.train.checkpoint import Checkpointer, Progress
from scaling.train.idf import DocumentFrequencies


class FileEngine:
    """An engine whose state is one number; it stands for DeepSpeed where only the files around it matter."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.state = 0
        self.is_broken = False
        self.written_by = 0  # by `load`

    def save(self, folder: Path) -> None:
        (folder / "state.txt").write_text(str(self.state))
        if self.is_broken:
            raise OSError("No space left on device")

    def load(self, folder: Path, written_by: int) -> None:
        self.written_by = written_by
        self.state = int((folder / "state.txt").read_text())


def _checkpointer(
    run: RunDirectory, engine: Any, statistics: DocumentFrequencies, num_ranks: int = 1
) -> Checkpointer:
    return Checkpointer(run, engine, statistics, rank=0, num_ranks=num_ranks, seed=0, barrier=lambda: None)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


@pytest.fixture
def statistics() -> DocumentFrequencies:
    return DocumentFrequencies(4, torch.device("cpu"))


def _folders(run: RunDirectory) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir() if path.is_dir())


def test_a_run_without_checkpoints_starts_at_the_beginning(
    run: RunDirectory, statistics: DocumentFrequencies
) -> None:
    assert _checkpointer(run, FileEngine(), statistics).restore().step == 0


def test_everything_saved_comes_back(run: RunDirectory, statistics: DocumentFrequencies) -> None:
    engine = FileEngine()
    engine.state = 7
    statistics.observe(LabelSets(torch.tensor([1, 2]), torch.tensor([0, 2]), torch.tensor([True])))
    progress = Progress(num_ranks=1, step=5, train_seconds=1.5, undecodable_images=2, empty_captions=3)
    progress.last_loss = 0.25
    random_state = torch.get_rng_state()
    _checkpointer(run, engine, statistics).save(progress)
    torch.rand(3)
    fresh, counts = FileEngine(), DocumentFrequencies(4, torch.device("cpu"))
    assert _checkpointer(run, fresh, counts).restore() == progress
    assert fresh.state == 7 and torch.equal(counts.counts_V, statistics.counts_V) and counts.num_samples == 1
    assert torch.equal(torch.get_rng_state(), random_state)
    assert fresh.written_by == 1


def test_another_number_of_ranks_continues_with_draws_of_its_own(
    run: RunDirectory, statistics: DocumentFrequencies
) -> None:
    """The states of the ranks that are gone belong to nobody; nothing is drawn twice by two ranks."""
    _checkpointer(run, FileEngine(), statistics, num_ranks=2).save(Progress(num_ranks=2, step=5))
    state, engine = torch.get_rng_state(), FileEngine()
    progress = _checkpointer(run, engine, statistics, num_ranks=1).restore()
    assert (engine.written_by, progress.num_ranks, progress.step) == (2, 1, 5)
    drawn = torch.get_rng_state()
    assert not torch.equal(drawn, state)
    _checkpointer(run, engine, statistics, num_ranks=1).restore()
    assert torch.equal(torch.get_rng_state(), drawn), "a function of seed, rank and step"


def test_the_last_two_checkpoints_are_kept_and_half_written_ones_are_not(
    run: RunDirectory, statistics: DocumentFrequencies
) -> None:
    checkpointer = _checkpointer(run, FileEngine(), statistics)
    for step in (1, 2):
        checkpointer.save(Progress(num_ranks=1, step=step))
    (run.checkpoints / "step-000000003.tmp").mkdir()
    checkpointer.save(Progress(num_ranks=1, step=4))
    assert _folders(run) == ["step-000000002", "step-000000004"]
    assert checkpointer.restore().step == 4


def test_a_save_that_fails_leaves_the_one_before_in_force(
    run: RunDirectory, statistics: DocumentFrequencies
) -> None:
    engine = FileEngine()
    checkpointer = _checkpointer(run, engine, statistics)
    checkpointer.save(Progress(num_ranks=1, step=1))
    engine.is_broken = True
    with pytest.raises(OSError, match="No space left"):
        checkpointer.save(Progress(num_ranks=1, step=2))
    assert checkpointer.restore().step == 1


def test_a_superseded_launcher_publishes_no_checkpoint(
    run: RunDirectory, statistics: DocumentFrequencies
) -> None:
    def superseded() -> None:
        raise RuntimeError("lease lost")

    run.check_lease = superseded
    with pytest.raises(RuntimeError, match="lease lost"):
        _checkpointer(run, FileEngine(), statistics).save(Progress(num_ranks=1, step=1))
    assert run.latest_checkpoint() is None
