"""The heavy half of a child, preloaded by the fork server: runs an assignment and names how it ended."""

from __future__ import annotations

import time
import traceback

import torch

from scaling.assignment import Assignment, Outcome
from scaling.records import State
from scaling.train.faults import Diverged
from scaling.train.main import run_point


def run_assignment(assignment: Assignment) -> Outcome:
    """Run one rank of one point; every way of ending is an Outcome, never an exception."""
    try:
        run_point(assignment)
    except Diverged as error:
        return _failure("diverged", error)
    except (torch.OutOfMemoryError, MemoryError) as error:
        return _failure("oom", error)
    except Exception as error:
        return _failure("error", error)
    return Outcome(state="done", at=time.time())


def _failure(state: State, error: Exception) -> Outcome:
    detail = traceback.format_exc()
    print(detail, flush=True)
    first_line = (str(error).strip() or "no message").split("\n")[0]
    return Outcome(state=state, reason=f"{type(error).__name__}: {first_line}", detail=detail, at=time.time())
