"""The loop around the reference engine: what it writes, how it stops, how it goes back."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from small_run import NUM_STEPS, SmallRun, assert_equal_states, state_after

from scaling.train import loop
from scaling.train.engines.plain import PlainEngine
from scaling.train.non_finite import Diverged
from scaling.train.preemption import Preempted
from scaling.train.progress import Progress

ALL_STEPS = list(range(NUM_STEPS))


@pytest.fixture(params=["a step later", "at once"], autouse=True)
def judged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """When a step is looked at: where a row is logged at once, else a step later.

    Rows "at once": after every step; else after steps 5 and 10 and with checkpoints.
    """
    if request.param != "at once":
        monkeypatch.setattr(loop, "LOG_ROWS", 2)
    return str(request.param)


def rows_until(step: int, judged: str) -> list[int]:
    """The steps at which rows were logged."""
    return [row for row in range(1, step + 1) if judged == "at once" or row in (4, 5, 8, 10)]


def test_an_undisturbed_run_makes_the_steps_of_a_plain_loop(tmp_path: Path, judged: str) -> None:
    run = SmallRun(tmp_path)
    progress = run.train()
    assert (progress.step, run.engine.optimizer_steps, run.ended) == (NUM_STEPS, NUM_STEPS, [])
    assert_equal_states(run.state(), state_after(ALL_STEPS))
    assert [row["step"] for row in run.rows("samples.jsonl")] == ALL_STEPS
    assert [row["step"] for row in run.rows("metrics.jsonl")] == rows_until(NUM_STEPS, judged)


def test_a_parent_sees_the_step_the_phase_and_the_pace_of_its_child(tmp_path: Path) -> None:
    run, seen = SmallRun(tmp_path, hold_out=lambda samples: seen.append(run.heartbeat()) or 0.5), []
    run.faults.actions = {step: lambda: seen.append(run.heartbeat()) for step in (0, 1, 5)}
    run.train()
    phases = [(beat.step, beat.phase) for beat in seen]
    assert phases[:4] == [(0, "starting"), (1, "training"), (2, "evaluating"), (4, "evaluating")]
    assert (5, "training") in phases
    assert seen[0].median_step_seconds == 0 < seen[-1].median_step_seconds
    assert (run.heartbeat().step, run.heartbeat().phase) == (NUM_STEPS, "training")


# Preemption


def test_a_run_that_is_told_to_stop_checkpoints_and_continues_bit_by_bit(tmp_path: Path, judged: str) -> None:
    first, stop = SmallRun(tmp_path), 6 if judged == "at once" else 7
    first.faults.actions = {5: lambda: first.preemption.ask("SIGUSR1 received")}
    with pytest.raises(Preempted, match=f"checkpoint written at {8 * stop} samples") as stopped:
        first.train()
    assert stopped.value.facts == {"step": stop} and first.ended == []
    second = SmallRun(tmp_path)
    second.faults.actions = {step: lambda: pytest.fail("trained twice") for step in range(stop)}
    assert second.train().step == NUM_STEPS
    assert_equal_states(second.state(), state_after(ALL_STEPS))
    assert [row["step"] for row in second.rows("samples.jsonl")] == ALL_STEPS


def test_a_request_during_the_last_step_ends_the_run_before_it_is_evaluated(tmp_path: Path) -> None:
    run = SmallRun(tmp_path)
    run.faults.actions = {NUM_STEPS - 1: lambda: run.preemption.ask("SIGTERM received")}
    with pytest.raises(Preempted):
        run.train()
    assert SmallRun(tmp_path).train().step == NUM_STEPS


def test_a_request_outside_of_training_ends_the_process_at_once(tmp_path: Path) -> None:
    run = SmallRun(tmp_path)
    run.train()
    run.preemption.ask("SIGTERM received")
    assert run.ended == ["SIGTERM received"]


def test_a_request_after_the_last_look_at_it_ends_the_process_once_the_last_checkpoint_is_written(
    tmp_path: Path,
) -> None:
    run = SmallRun(
        tmp_path, hold_out=lambda samples: samples == 80 and run.preemption.ask("SIGTERM received")
    )
    run.train()
    assert run.ended == ["SIGTERM received"]
    assert run.checkpointer.saved_step == NUM_STEPS


def test_the_bytes_that_were_read_add_up_over_attempts(tmp_path: Path) -> None:
    first = SmallRun(tmp_path)
    first.faults.actions = {5: lambda: first.preemption.ask("SIGTERM received")}
    with pytest.raises(Preempted):
        first.train()
    assert SmallRun(tmp_path).train().data_bytes == sum(1000 + step for step in ALL_STEPS)


def test_bytes_of_a_checkpoint_that_did_not_count_them_stay_unknown(tmp_path: Path) -> None:
    first = SmallRun(tmp_path)
    first.faults.actions = {5: lambda: first.preemption.ask("SIGTERM received")}
    with pytest.raises(Preempted):
        first.train()
    progress = first.checkpointer.restore()
    progress.data_bytes = None
    first.checkpointer.save(progress, wait=True)
    assert SmallRun(tmp_path).train().data_bytes is None


# Losses and gradients that are not finite


def test_a_run_that_is_no_longer_finite_ends_and_says_when_and_what_is_left(
    tmp_path: Path, judged: str
) -> None:
    run = SmallRun(tmp_path)
    run.faults.actions = {6: run.poison}
    with pytest.raises(
        Diverged, match=r"the loss of step 6 is not finite \(samples 48 to 55\); not finite: .*of step 4$"
    ) as end:
        run.train()
    assert end.value.facts == {"step": 6, "what": "loss", "checkpoint": 4}
    assert [row["step"] for row in run.rows("metrics.jsonl")] == rows_until(6, judged)


def test_a_rollback_trains_as_if_the_batch_had_never_been(tmp_path: Path, judged: str) -> None:
    run = SmallRun(tmp_path, non_finite="rollback")
    run.faults.actions = {6: run.poison}
    progress = run.train()
    assert (progress.skipped_batches, progress.num_rollbacks, progress.skipped_steps) == ([6], 1, 1)
    assert "step 6" in progress.warnings[-1]
    assert run.engine.optimizer_steps == NUM_STEPS - 1
    without = [step for step in ALL_STEPS if step != 6]
    assert_equal_states(run.state(), state_after(without))
    assert [row["step"] for row in run.rows("samples.jsonl")] == without
    rows = run.rows("metrics.jsonl")
    assert [row["step"] for row in rows] == [row for row in rows_until(NUM_STEPS, judged) if row != 7]
    assert {row["step"]: row["num_rollbacks"] for row in rows}.items() >= {(4, 0), (5, 1), (10, 1)}


def test_a_rollback_before_the_first_checkpoint_goes_back_to_the_start(tmp_path: Path) -> None:
    run = SmallRun(tmp_path, non_finite="rollback")
    run.faults.actions = {0: run.poison}
    assert run.train().skipped_batches == [0]
    assert_equal_states(run.state(), state_after(ALL_STEPS[1:]))


def test_two_batches_after_the_same_checkpoint_are_both_left_out(tmp_path: Path) -> None:
    run = SmallRun(tmp_path, non_finite="rollback")
    run.faults.actions = {5: run.poison, 6: run.poison}
    progress = run.train()
    assert (progress.skipped_batches, progress.num_rollbacks, len(progress.warnings)) == ([5, 6], 2, 2)
    assert_equal_states(run.state(), state_after([step for step in ALL_STEPS if step not in (5, 6)]))


def test_what_was_left_out_stays_left_out_when_the_run_is_stopped_and_continued(tmp_path: Path) -> None:
    first = SmallRun(tmp_path, non_finite="rollback")
    first.faults.actions = {5: first.poison, 8: lambda: first.preemption.ask("SIGTERM received")}
    with pytest.raises(Preempted):
        first.train()
    second = SmallRun(tmp_path, non_finite="rollback")
    progress = second.train()
    assert (progress.skipped_batches, progress.num_rollbacks) == ([5], 1)
    assert_equal_states(second.state(), state_after([step for step in ALL_STEPS if step != 5]))


def test_a_run_goes_back_no_more_often_than_it_may(tmp_path: Path) -> None:
    run = SmallRun(tmp_path, non_finite="rollback", most_rollbacks=2)
    run.faults.actions = {step: run.poison for step in (2, 5, 7)}
    with pytest.raises(Diverged, match="step 7 is not finite after 2 rollbacks") as end:
        run.train()
    assert end.value.facts == {"step": 7, "what": "loss", "checkpoint": 4}


def test_left_out_batches_at_the_end_still_leave_a_last_checkpoint(tmp_path: Path) -> None:
    run = SmallRun(tmp_path, non_finite="rollback")
    run.faults.actions = {NUM_STEPS - 1: run.poison}
    assert run.train().step == NUM_STEPS == run.checkpointer.saved_step
    assert_equal_states(run.state(), state_after(ALL_STEPS[:-1]))


@pytest.mark.parametrize("policy", ["stop", "rollback"])
def test_what_the_step_before_a_checkpoint_spoiled_is_not_saved(tmp_path: Path, policy: str) -> None:
    run = SmallRun(tmp_path, checkpoint_every=2, non_finite=policy)
    run.faults.actions = {3: run.poison}
    found_finite, save = [], run.checkpointer.save

    def look_and_save(progress: Progress, *, wait: bool = False) -> None:
        found_finite.append(all(torch.isfinite(piece.values).all() for piece in run.engine.pieces()))
        save(progress, wait=wait)

    run.checkpointer.save = look_and_save  # type: ignore[method-assign]
    with contextlib.suppress(Diverged):
        run.train()
    assert found_finite == {"stop": [True], "rollback": [True] * 6}[policy]


def test_an_update_that_spoils_the_weights_without_a_sign_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradient of the step were finite; only the weights tell."""
    run, step = SmallRun(tmp_path), PlainEngine.step

    def spoiling(engine: PlainEngine, learning_rate: float) -> object:
        report = step(engine, learning_rate)
        if engine.optimizer_steps == 8:
            run.poison()
        return report

    monkeypatch.setattr(PlainEngine, "step", spoiling)
    with pytest.raises(Diverged, match="the weights of step 7 are not finite") as end:
        run.train()
    assert end.value.facts == {"step": 7, "what": "weights", "checkpoint": 4}
