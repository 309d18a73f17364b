"""A lock that all jobs of a machine share while they construct streaming data sets.

StreamingDataset 0.13 numbers its shared-memory segments by probing for a free number and then creating it: of jobs
that start together, some would die of FileExistsError.  The lock is in the folder of the segments, so that all jobs
that can collide share it, whatever their user and TMPDIR.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

MACHINE_LOCK = Path("/dev/shm/scaling-streaming.lock")


@contextlib.contextmanager
def one_at_a_time_on_this_machine(
    is_local_leader: bool, barrier: Callable[[], None], lock: Path = MACHINE_LOCK
) -> Iterator[None]:
    """Construct data sets of this job, on all its ranks of this machine, while no other job here does so."""
    with contextlib.ExitStack() as stack:
        if is_local_leader:
            stream = stack.enter_context(os.fdopen(_open(lock)))
            fcntl.flock(stream, fcntl.LOCK_EX)
            # unlocked explicitly: closing would leave the lock with a child that was forked meanwhile
            stack.callback(fcntl.flock, stream, fcntl.LOCK_UN)
        barrier()
        yield
        barrier()


def _open(lock: Path) -> int:
    """A descriptor of the lock file, which may be another user's: reading suffices to lock it."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(lock, os.O_RDONLY)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.fchmod(descriptor, 0o644)  # whatever the umask
            return descriptor
