"""The heavy half of a child, preloaded by the fork server: runs an assignment and names how it ended."""

from __future__ import annotations

import time
import traceback
from typing import Any, Literal

import torch

from scaling.data.stream.shard_files import DamagedShard
from scaling.processes.assignment import Assignment, Outcome
from scaling.records import State
from scaling.train.faults import facts_of_damage, is_out_of_memory
from scaling.train.main import run_point
from scaling.train.memory_meter import peak_memory_bytes
from scaling.train.non_finite import Diverged
from scaling.train.preemption import Preempted, Preemption
from scaling.train.rank_group import FailedElsewhere

ChildState = State | Literal["stopped"]


def run_assignment(assignment: Assignment, preemption: Preemption) -> Outcome:
    """Run one rank of one point; every way of ending is an Outcome, never an exception."""
    try:
        run_point(assignment, preemption)
    except Exception as error:
        return _outcome_of(error, assignment, preemption)
    return Outcome(state="done", at=time.time())


def _outcome_of(error: Exception, assignment: Assignment, preemption: Preemption) -> Outcome:
    at = time.time()
    if isinstance(error, Preempted):
        return Outcome(state="preempted", reason=str(error), facts=error.facts, at=at)
    detail = traceback.format_exc()
    print(detail, flush=True)
    first_line = (str(error).strip() or "no message").split("\n")[0]
    reason = f"{type(error).__name__}: {first_line}"
    state, facts = _state_and_facts(error, assignment)
    if state == "error" and preemption.is_asked:
        # other ranks, or loading processes, ended with the same request
        state, reason = "preempted", f"told to stop, and ended before a checkpoint was written ({reason})"
    return Outcome(state=state, reason=reason, detail=detail, facts=facts, at=at)


def _state_and_facts(error: Exception, assignment: Assignment) -> tuple[ChildState, dict[str, Any]]:
    """The state and the facts (see records.Status) of a child that ended with this error."""
    if isinstance(error, Diverged):
        return "diverged", error.facts
    if isinstance(error, DamagedShard):
        return "shard_corrupt", dict(facts_of_damage(error))
    if isinstance(error, FailedElsewhere):
        return "stopped", {}
    if is_out_of_memory(error):
        return "oom", _memory_facts(assignment)
    return "error", {}


def _memory_facts(assignment: Assignment) -> dict[str, Any]:
    is_cuda = assignment.accelerator == "cuda"
    device = torch.device("cuda", assignment.rank.local_rank) if is_cuda else torch.device("cpu")
    return {
        "micro_batch": assignment.micro_batch,
        "peak_bytes": peak_memory_bytes(device),
    }
