"""Checkpoints of a run: what comes back, on how many ranks, and what stays when."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from cut_engine import CutEngine, a_state, equal, even_cuts, joined, on_ranks

import scaling.train.checkpoint
from model_zoo.targets import LabelSets
from scaling.checkpoints.contents import UnreadableCheckpoint
from scaling.checkpoints.names import steps_in
from scaling.checkpoints.publishing import KeepRule
from scaling.records import RunDirectory, WriteError
from scaling.train.checkpoint import Checkpointer
from scaling.train.idf import DocumentFrequencies
from scaling.train.progress import Progress
from scaling.train.rank_group import FailedElsewhere, RankGroup
from scaling.train.takeover import StateDiffers

KEEP_TWO = KeepRule(latest=2, every_samples=0, global_batch=8)
ENVIRONMENT = {"torch": "2.15", "commit": "abc", "host": "node1"}


def an_engine(rank: int = 0, num_ranks: int = 1, seed: int = 0) -> CutEngine:
    state = a_state(seed)
    return CutEngine(state, even_cuts(state, num_ranks), rank)


def a_checkpointer(
    run: RunDirectory,
    engine: CutEngine,
    statistics: DocumentFrequencies | None = None,
    *,
    group: RankGroup = RankGroup(rank=0, num_ranks=1),
    keep: KeepRule = KEEP_TWO,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Checkpointer:
    return Checkpointer(
        run,
        engine,  # type: ignore[arg-type]
        statistics or DocumentFrequencies(4, torch.device("cpu")),
        group=group,
        seed=0,
        keep=keep,
        environment=lambda: environment,
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def saved(run: RunDirectory, *steps: int, **options: Any) -> CutEngine:
    """An engine whose state was saved after each of these steps, as seed `step`'s."""
    for step in steps:
        engine = an_engine(seed=step)
        a_checkpointer(run, engine, **options).save(Progress(num_ranks=1, step=step), wait=True)
    return engine


def test_a_run_without_checkpoints_starts_at_the_beginning(run: RunDirectory) -> None:
    checkpointer = a_checkpointer(run, an_engine())
    assert checkpointer.restore() == Progress(num_ranks=1, last_loss=pytest.approx(float("nan"), nan_ok=True))
    assert checkpointer.saved_step is None


def test_everything_saved_comes_back(run: RunDirectory) -> None:
    engine, statistics = an_engine(seed=7), DocumentFrequencies(4, torch.device("cpu"))
    engine.optimizer_steps = 4
    statistics.observe(LabelSets(torch.tensor([1, 2]), torch.tensor([0, 2]), torch.tensor([True])))
    progress = Progress(num_ranks=1, step=5, train_seconds=1.5, undecodable_images=2, last_loss=0.25)
    progress.rejects, progress.goodput = {"truncated": 2}, {"productive": 1.25}
    progress.skipped_batches, progress.num_rollbacks, progress.warnings = [3], 1, ["a warning"]
    random_state = torch.get_rng_state()
    a_checkpointer(run, engine, statistics).save(progress, wait=True)
    torch.rand(3)
    fresh, counts = an_engine(), DocumentFrequencies(4, torch.device("cpu"))
    checkpointer = a_checkpointer(run, fresh, counts)
    assert checkpointer.restore() == progress and checkpointer.saved_step == 5
    assert equal(joined([fresh], a_state()), a_state(7)) and fresh.optimizer_steps == 4
    assert torch.equal(counts.counts_V, statistics.counts_V) and counts.num_samples == 1
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize(("writers", "readers"), [(1, 3), (3, 1), (3, 2), (2, 2)])
def test_what_some_ranks_wrote_any_other_number_continues(
    run: RunDirectory, writers: int, readers: int
) -> None:
    def save(group: RankGroup) -> None:
        engine = an_engine(group.rank, group.num_ranks, seed=1)
        a_checkpointer(run, engine, group=group).save(Progress(num_ranks=writers, step=5), wait=True)

    def restore(group: RankGroup) -> tuple[CutEngine, Progress]:
        engine = an_engine(group.rank, group.num_ranks)
        engine.forget()
        return engine, a_checkpointer(run, engine, group=group).restore()

    on_ranks(writers, save)
    engines, progress = zip(*on_ranks(readers, restore), strict=True)
    assert equal(joined(engines, a_state()), a_state(1))
    assert {(one.step, one.num_ranks) for one in progress} == {(5, readers)}


def test_another_number_of_ranks_continues_with_draws_of_its_own(run: RunDirectory) -> None:
    """The states of the ranks that are gone belong to nobody; nothing is drawn twice by two ranks."""

    def save(group: RankGroup) -> None:
        engine = an_engine(group.rank, group.num_ranks)
        a_checkpointer(run, engine, group=group).save(Progress(num_ranks=2, step=5), wait=True)

    torch.manual_seed(123)
    on_ranks(2, save)
    state = torch.get_rng_state()
    a_checkpointer(run, an_engine()).restore()
    drawn = torch.get_rng_state()
    assert not torch.equal(drawn, state)
    a_checkpointer(run, an_engine()).restore()
    assert torch.equal(torch.get_rng_state(), drawn), "a function of seed, rank and step"


def test_training_goes_on_while_a_checkpoint_is_written_and_does_not_change_it(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is held up by the test; the weights change meanwhile; what was saved is what was there at `save`."""
    saved(run, 1)
    may_write = threading.Event()
    write_share = scaling.train.checkpoint.write_share

    def slow(*arguments: Any) -> None:
        assert may_write.wait(30)
        write_share(*arguments)

    monkeypatch.setattr(scaling.train.checkpoint, "write_share", slow)
    engine = an_engine(seed=2)
    statistics = DocumentFrequencies(4, torch.device("cpu"))
    checkpointer = a_checkpointer(run, engine, statistics)
    progress = Progress(num_ranks=1, step=2, rejects={"missing": 1})
    checkpointer.save(progress)
    engine.forget()
    statistics.counts_V.fill_(9)
    progress.step, progress.rejects["missing"] = 3, 2
    assert steps_in(run.checkpoints) == [1] and checkpointer.saved_step is None
    may_write.set()
    checkpointer.finish()
    assert steps_in(run.checkpoints) == [1, 2] and checkpointer.saved_step == 2
    fresh, counts = an_engine(), DocumentFrequencies(4, torch.device("cpu"))
    restored = a_checkpointer(run, fresh, counts).restore()
    assert equal(joined([fresh], a_state()), a_state(2)) and counts.counts_V.sum() == 0
    assert (restored.step, restored.rejects) == (2, {"missing": 1})


def test_an_error_of_writing_is_raised_by_the_next_save_on_every_rank(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 1's disk is full; the other ranks learn it there and not by waiting for ever."""
    write_share = scaling.train.checkpoint.write_share

    def full(folder: Path, rank: int, parts: Any) -> None:
        if rank == 1:
            raise WriteError(f"{folder}: No space left on device")
        write_share(folder, rank, parts)

    seen: dict[int, Exception] = {}

    def save_twice(group: RankGroup) -> None:
        checkpointer = a_checkpointer(run, an_engine(group.rank, group.num_ranks), group=group)
        checkpointer.save(Progress(num_ranks=3, step=1))
        try:
            checkpointer.save(Progress(num_ranks=3, step=2))
        except (WriteError, FailedElsewhere) as error:
            seen[group.rank] = error
        checkpointer.finish()  # nothing is under way any more

    monkeypatch.setattr(scaling.train.checkpoint, "write_share", full)
    on_ranks(3, save_twice)
    assert [type(seen[rank]) for rank in range(3)] == [FailedElsewhere, WriteError, FailedElsewhere]
    assert "rank 1: WriteError" in str(seen[0]) and list(run.checkpoints.iterdir()) == []


def test_the_latest_stay_and_those_at_multiples_of_samples_stay_for_ever(run: RunDirectory) -> None:
    """8 samples per step: the first checkpoints at or after 40, 80, ... samples are steps 6, 11 and 15."""
    keep = KeepRule(latest=2, every_samples=40, global_batch=8)
    for step in (2, 4, 6, 8, 11, 13, 15, 17, 18, 19):
        saved(run, step, keep=keep)
    assert steps_in(run.checkpoints) == [6, 11, 15, 18, 19]
    assert (run.checkpoints / "latest").read_text() == "step-000000019"


def test_half_written_checkpoints_of_killed_attempts_are_deleted(run: RunDirectory) -> None:
    (run.checkpoints / "step-000000003.0123abcd.tmp").mkdir(parents=True)
    assert a_checkpointer(run, an_engine()).restore().step == 0
    saved(run, 4)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["latest", "step-000000004"]


def test_a_step_saved_again_after_a_rollback_replaces_what_was_undone(run: RunDirectory) -> None:
    """Steps 2 and 3 were undone and done again with another batch: nothing of the first time may be continued."""
    saved(run, 1, 2, 3, keep=KeepRule(latest=3, every_samples=0, global_batch=8))
    engine = an_engine(seed=22)
    a_checkpointer(run, engine).save(Progress(num_ranks=1, step=2, num_rollbacks=1), wait=True)
    assert steps_in(run.checkpoints) == [1, 2]
    fresh = an_engine()
    assert a_checkpointer(run, fresh).restore().num_rollbacks == 1
    assert equal(joined([fresh], a_state()), a_state(22))


def test_tensors_that_only_one_side_has_or_of_another_shape_are_named(run: RunDirectory) -> None:
    saved(run, 1)
    state = a_state()
    state["weight", "tail.weight"] = torch.zeros(2)
    state["weight", "head.bias"] = torch.zeros(6)
    del state["buffer", "norm.is_warm"]
    engine = CutEngine(state, even_cuts(state, 1), 0)
    with pytest.raises(UnreadableCheckpoint) as caught:
        a_checkpointer(run, engine).restore()
    for text in (
        r"not in it: weight tail.weight [2] float32",
        r"not in the model: buffer norm.is_warm [2] bool",
        r"different: weight head.bias [5] float32, now [6] float32",
        "delete the folder checkpoints",
    ):
        assert text in str(caught.value)
    assert steps_in(run.checkpoints) == [1], "it is not damaged, and stays"


def test_a_state_with_a_gap_is_never_saved(run: RunDirectory) -> None:
    saved(run, 1)
    state = a_state()
    engine = CutEngine(state, {**even_cuts(state, 1), ("weight", "frozen"): [(11, 0)]}, 0)
    with pytest.raises(RuntimeError, match=r"weight frozen \[3, 4\]: .* leave a gap at element 11"):
        a_checkpointer(run, engine).save(Progress(num_ranks=1, step=2), wait=True)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["latest", "step-000000001"]


@pytest.mark.parametrize("kind", ["weight", "exp_avg", "exp_avg_sq", "buffer"])
def test_an_engine_that_does_not_hold_what_it_was_given_is_found_out(run: RunDirectory, kind: str) -> None:
    """As DeepSpeed loses buffers on its universal load; the hash of the state afterwards tells."""

    class Forgetful(CutEngine):
        def take_over(self, optimizer_steps: int) -> None:
            lost = next(piece for piece in self.pieces() if piece.kind == kind)
            lost.values[0] = 0

    saved(run, 1)
    state = a_state()
    with pytest.raises(StateDiffers, match=f"the hash of {kind} in the engine differs"):
        a_checkpointer(run, Forgetful(state, even_cuts(state, 1), 0)).restore()


def test_other_code_or_libraries_are_a_warning_once_and_another_machine_is_none(run: RunDirectory) -> None:
    saved(run, 1)
    same = a_checkpointer(run, an_engine(), environment={**ENVIRONMENT, "host": "node2"}).restore()
    assert same.warnings == []
    for _ in range(2):
        checkpointer = a_checkpointer(run, an_engine(), environment={**ENVIRONMENT, "torch": "2.16"})
        changed = checkpointer.restore()
    assert changed.warnings == ["the environment changed at step 1: torch 2.15 -> 2.16"]
    checkpointer.save(changed, wait=True)
    assert a_checkpointer(run, an_engine()).restore().warnings[0] == changed.warnings[0], "it stays on record"


def test_a_checkpoint_of_older_code_is_refused_with_what_to_do(run: RunDirectory) -> None:
    folder = run.checkpoints / "step-000000008"
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(json.dumps({"num_ranks": 8}))
    (run.checkpoints / "latest").write_text(folder.name)
    with pytest.raises(
        UnreadableCheckpoint, match="older version: finish the run with that version, or delete"
    ):
        a_checkpointer(run, an_engine()).restore()
    assert folder.exists()
