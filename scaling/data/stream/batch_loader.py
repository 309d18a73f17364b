"""torch's DataLoader for a training stream: workers live on between epochs, and their errors are one line."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from scaling.data.batches import Batch, Collator
from scaling.data.stream.ordered_samples import OrderedSamples

PREFETCHED_BATCHES = 4  # per worker


def _outlive_requests_to_stop(worker: int) -> None:
    """Ignore signals to stop: sent to the whole process group, they ask the rank to finish a step with its workers."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


class StreamStalled(RuntimeError):
    """The loader gave no batch within its timeout."""


class BatchLoader:
    """The batches of one rank; each iteration gives the rest of an epoch, from the position set beforehand."""

    def __init__(
        self,
        samples: OrderedSamples,
        collator: Collator,
        *,
        batch: int,
        num_workers: int,
        pin_memory: bool,
        timeout_seconds: int,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._loader: DataLoader[Batch] = DataLoader(
            samples,
            batch_size=batch,
            num_workers=num_workers,
            collate_fn=collator,
            drop_last=True,
            pin_memory=pin_memory,
            timeout=timeout_seconds if num_workers else 0,
            prefetch_factor=PREFETCHED_BATCHES if num_workers else None,
            persistent_workers=num_workers > 0,
            worker_init_fn=_outlive_requests_to_stop,
            # Every iterator draws a seed for its workers, who need none. From the rank's own generator, a run that was
            # continued would then drop other patches than one that never stopped.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[Batch]:
        """Raises StreamStalled if workers are silent, and re-raises a worker's error with its last line as message."""
        try:
            yield from self._loader
        except Exception as error:
            said = str(error)
            if said.startswith("DataLoader timed out"):
                raise StreamStalled(
                    f"the loader's workers gave no batch within {self._timeout_seconds:,} seconds: the data do not "
                    "answer, or the workers' log says why."
                ) from error
            if said.startswith("Caught "):  # with the worker's whole traceback, at whose end stands the error
                last = said.rstrip().rpartition("\n")[2]
                raise type(error)(last.partition(": ")[2] or last) from error
            raise

    def end_workers(self) -> None:
        """End the workers now; at the exit of the process, waiting for them would take seconds."""
        iterator: Any = self._loader._iterator
        if iterator is not None:
            iterator._shutdown_workers()
            self._loader._iterator = None
