"""Processes for a long pass over data."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from scaling.processes.orphans import end_with_parent


@contextlib.contextmanager
def worker_pool(workers: int, *, preload: str) -> Iterator[ProcessPoolExecutor]:
    """A pool of `workers` processes, which end with this one; work that has not begun at its end is dropped.

    `preload` is the module of what they run.  It and streaming are imported once (4 s) and not once per worker.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["streaming", preload])
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
