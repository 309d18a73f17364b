"""The entry point of a rank of the parity certificate; its parent imports it too, so it imports nothing heavy."""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import NoReturn

from scaling.processes.assignment import Assignment, Outcome, report_outcome
from scaling.train.entry import settle_in


def train_jobs(assignment: Assignment) -> None:
    """Train all jobs of this rank's group in this fresh process; the outcome goes to a file, the log to its folder."""
    settle_in(assignment)
    from scaling.drill.parity_ranks import train_all

    try:
        train_all(assignment)
    except Exception as error:
        detail = traceback.format_exc()
        print(detail, flush=True)
        reason = f"{type(error).__name__}: {error}"
        _end(assignment, Outcome(state="error", reason=reason, detail=detail, at=time.time()))
    _end(assignment, Outcome(state="done", at=time.time()))


def _end(assignment: Assignment, outcome: Outcome) -> NoReturn:
    report_outcome(assignment.scratch, assignment.rank.rank, outcome)
    sys.stdout.flush()
    os._exit(0 if outcome.is_good else 1)
