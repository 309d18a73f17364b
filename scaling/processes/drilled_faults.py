"""The names of the faults that a drill plays in the processes of a run, and the step of each.

A launch gets them as "NAME@SEED,...": the fault is played in the run of that seed, by `scaling.train.played_faults`.
"""

from __future__ import annotations

CHECKPOINT_STEPS = 5  # between two checkpoints of a drill's run
NUM_STEPS = 20

OUT_OF_MEMORY, KILL, HANG, NOT_A_NUMBER = "oom", "kill", "hang", "nan"
FULL_DISK, KILL_LATE, HOLD = "disk-full", "kill-late", "hold"

STEPS = {
    **dict.fromkeys((OUT_OF_MEMORY, KILL, HANG, NOT_A_NUMBER, FULL_DISK, HOLD), 8),
    KILL_LATE: 13,
}
"""The step (counted from 0) before which each is played, once the checkpoint before it is written: the first one, or
the second for KILL_LATE, so that there is one to fall back to."""

FILE_BYTES = 65_536
"""The largest file that can be written under FULL_DISK: too small for checkpoints, enough for logs and metrics."""

HANG_SECONDS = 10.0
"""Seconds without a step after which a run counts as hung where HANG is played; else see scaling.launching.watchdog."""

HELD, GO = "drill-held", "drill-go"  # files in a run's folder: it waits; it may go on


def fault_of(drill: str, *, seed: int, attempt: int) -> str:
    """The fault to play in one attempt at the run of a seed, "" for none; ValueError unless it is FAULT@SEED,....

    Faults are played in a run's first attempt. Memory runs out whenever the micro-batch is as large as at first.
    """
    faults: dict[int, str] = {}
    for entry in filter(None, drill.split(",")):
        name, at, number = entry.partition("@")
        if name not in STEPS or not at or not number.isdigit():
            raise ValueError(f"--drill {entry}: write FAULT@SEED with one of {', '.join(STEPS)}.")
        faults[int(number)] = name
    fault = faults.get(seed, "")
    return fault if attempt == 1 or fault == OUT_OF_MEMORY else ""
