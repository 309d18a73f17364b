"""The sample ledger: which samples each step saw, as a checked fact.

One line per step in `samples.jsonl`: step, first and last position in the run's sample sequence, and a hash of the
ids of the whole global batch. The hash does not depend on the order within the batch, and so not on how many ranks
shared it: runs on different world sizes, killed and resumed or not, write equal ledgers.
"""

from __future__ import annotations

from typing import Any

import torch
import xxhash
from torch import Tensor

from scaling.records import RunDirectory
from scaling.train.collectives import reduce_in_place

_BITS = 61  # sums of many hashes stay within int64 modulo 2**64; kept positive for readers of the file


def hash_of_ids(sample_ids_B: Tensor) -> int:
    """A hash of a multiset of sample ids: the sum of their xxh64 hashes modulo 2**61."""
    return int(sum(xxhash.xxh64_intdigest(str(sample_id)) for sample_id in sample_ids_B.tolist()) % 2**_BITS)


class SampleLedger:
    """Collects one line per step; rank 0 appends them when flushed. Every method is called by all ranks."""

    def __init__(self, run: RunDirectory, global_batch: int, device: torch.device, *, is_main: bool) -> None:
        self._run = run
        self._global_batch = global_batch
        self._device = device
        self._is_main = is_main
        self._hashes: list[tuple[int, Tensor]] = []  # on the device: reading them at once would wait for it

    def note(self, step: int, sample_ids_B: Tensor) -> None:
        """Note one global batch, of which this rank had `sample_ids_B`."""
        total = torch.tensor(hash_of_ids(sample_ids_B), dtype=torch.int64, device=self._device)
        reduce_in_place(total)  # wraps modulo 2**64, of which 2**61 is a divisor
        if self._is_main:
            self._hashes.append((step, total))

    def flush(self) -> None:
        """Write the lines noted so far."""
        if self._is_main:
            self._run.append(self._run.samples, [self._row(step, int(total)) for step, total in self._hashes])
            self._hashes = []

    def forget(self) -> None:
        """Drop the lines noted since the last flush: training goes back to a checkpoint."""
        self._hashes = []

    def _row(self, step: int, total: int) -> dict[str, Any]:
        first = step * self._global_batch
        last = first + self._global_batch - 1
        return {"step": step, "first": first, "last": last, "ids_hash": f"{total % 2**_BITS:016x}"}
