"""Recognises faults (out of memory, damaged shards) in the exceptions that end a child."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from scaling.data.stream.shard_files import DamagedShard

OUT_OF_MEMORY = re.compile(
    "|".join(
        (
            "not enough memory",  # torch's allocator of the CPU (DefaultCPUAllocator)
            "Cannot allocate memory",  # errno ENOMEM, of mmap and fork
            r"CUDA( driver)? error: out of memory",  # the driver, where no allocator of torch asked
            "Cuda failure.* 'out of memory'",  # NCCL's buffers
            "CU(BLAS|SPARSE|DNN)_STATUS_ALLOC_FAILED",  # workspaces of CUDA's libraries
        )
    )
)
"""Texts of errors that mean out of memory but have no type of their own."""

SHARD = re.compile(
    r"(?P<shard>.+?) (is missing|is damaged|cannot be fetched)[.,: ]+(?P<reason>.*)", re.DOTALL
)
"""The text of DamagedShard: loading processes pass on nothing else of it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error, or one that it followed from, says that memory ran out."""
    return any(
        isinstance(cause, (torch.OutOfMemoryError, MemoryError))
        or OUT_OF_MEMORY.search(str(cause)) is not None
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what was being handled when it arose, each once."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def facts_of_damage(error: DamagedShard) -> dict[str, str]:
    """The shard and what is wrong with it, as far as the error names them."""
    said = SHARD.fullmatch(str(error))
    return {"reason": str(error)} if said is None else said.groupdict()
