"""What an exception says of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from scaling.data.stream.shard_files import MAKE_AGAIN, DamagedShard
from scaling.processes.assignment import Assignment, Outcome, read_outcome, report_outcome
from scaling.train import child
from scaling.train.child import run_assignment
from scaling.train.faults import facts_of_damage, is_out_of_memory
from scaling.train.non_finite import Diverged
from scaling.train.preemption import Preempted, Preemption
from scaling.train.rank_group import FailedElsewhere


@pytest.fixture
def assignment(assignment_of: Callable[[int, int], Assignment]) -> Assignment:
    return assignment_of(0, 1)


@pytest.fixture
def preemption() -> Preemption:
    return Preemption(lambda reason: None)


def outcome_of(
    error: BaseException, assignment: Assignment, preemption: Preemption, monkeypatch: pytest.MonkeyPatch
) -> Outcome:
    """How a child ends whose training raises `error`; read back from the file that its parent reads."""

    def fail(assignment: Assignment, preemption: Preemption) -> None:
        raise error

    monkeypatch.setattr(child, "run_point", fail)
    report_outcome(assignment.scratch, 0, run_assignment(assignment, preemption))
    outcome = read_outcome(assignment.scratch, 0)
    assert outcome is not None
    return outcome


def from_the_allocator() -> RuntimeError:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    return error.value


OUT_OF_MEMORY = [
    from_the_allocator(),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    OSError(12, "Cannot allocate memory"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("NCCL error ...: unhandled cuda error\\nLast error:\\nCuda failure 2 'out of memory'"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:30])
def test_memory_that_ran_out_is_told_whoever_asked_for_it(
    error: Exception, assignment: Assignment, preemption: Preemption, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = outcome_of(error, assignment, preemption, monkeypatch)
    assert outcome.state == "oom" and "Traceback" in outcome.detail
    assert outcome.facts["micro_batch"] == 16
    assert outcome.facts["peak_bytes"] > 100e6, "torch is loaded"


def test_an_error_that_follows_from_one_of_memory_is_one_too() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise RuntimeError("the loader failed") from error
    except RuntimeError as error:
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("out of range"))


def _facts(*values: Any) -> dict[str, Any]:
    return dict(zip(("step", "what", "checkpoint"), values, strict=True))


ENDINGS = [
    (Diverged("the loss is gone", _facts(6, "loss", 4)), "diverged", _facts(6, "loss", 4)),
    (Preempted(6, 48), "preempted", {"step": 6}),
    (FailedElsewhere("rank 1: WriteError"), "stopped", {}),
    (
        DamagedShard(f"/set/shard.00003.mds is damaged: its hash is 1f, its index says 2e. {MAKE_AGAIN}"),
        "shard_corrupt",
        {"shard": "/set/shard.00003.mds", "reason": f"its hash is 1f, its index says 2e. {MAKE_AGAIN}"},
    ),
    (ValueError("no such key\nand more"), "error", {}),
]


@pytest.mark.parametrize(("error", "state", "facts"), ENDINGS, ids=lambda value: str(value)[:20])
def test_every_way_of_ending_has_a_type_and_what_it_is_about(
    error: Exception,
    state: str,
    facts: dict[str, Any],
    assignment: Assignment,
    preemption: Preemption,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = outcome_of(error, assignment, preemption, monkeypatch)
    assert (outcome.state, outcome.facts) == (state, facts)
    assert "\n" not in outcome.reason and str(error).split("\n")[0] in outcome.reason


def test_what_breaks_after_a_request_to_stop_is_part_of_the_stop(
    assignment: Assignment, preemption: Preemption, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks that stopped already break the connections of the others, whose runs only have to continue."""
    broken = RuntimeError("Connection closed by peer")
    assert outcome_of(broken, assignment, preemption, monkeypatch).state == "error"
    preemption.ask("SIGTERM received")
    outcome = outcome_of(broken, assignment, preemption, monkeypatch)
    assert outcome.state == "preempted" and "Connection closed by peer" in outcome.reason
    diverged = Diverged("the loss is gone", {})
    assert outcome_of(diverged, assignment, preemption, monkeypatch).state == "diverged"


@pytest.mark.parametrize(
    ("message", "shard"),
    [
        (f"/set/a b/shard.00000.mds is missing. {MAKE_AGAIN}", "/set/a b/shard.00000.mds"),
        ("s3://b/x.mds.zstd cannot be fetched: timed out.", "s3://b/x.mds.zstd"),
        (f"/c/x.mds is damaged, also when fetched again: 5 bytes. {MAKE_AGAIN}", "/c/x.mds"),
    ],
)
def test_the_shard_is_named_whatever_is_wrong_with_it(message: str, shard: str) -> None:
    assert facts_of_damage(DamagedShard(message))["shard"] == shard


def test_damage_that_names_no_shard_is_told_as_it_is() -> None:
    assert facts_of_damage(DamagedShard("cache_limit is too low")) == {"reason": "cache_limit is too low"}
