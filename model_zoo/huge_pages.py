"""Large tensors of a CPU in huge pages: in small ones, handing the memory out takes longer than filling it."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor

HUGE_PAGE = 2**21  # bytes; of x86-64, and of arm64 whose small pages are of 4 KiB


def in_huge_pages(fresh: Tensor) -> Tensor:
    """The same tensor; nothing has been written to it.  On Linux its memory is to come in huge pages.

    Measured on a Zen 5 server: to allocate and write 152 MB takes 9 ms of a core; in small pages, 58.  A wish, which
    counts where the system leaves the choice to programs (transparent_hugepage: madvise), and changes no value.
    """
    is_fake = type(fresh) is not Tensor  # without memory, of a profile
    if sys.platform == "linux" and fresh.device.type == "cpu" and not is_fake:
        _wish(fresh.data_ptr(), fresh.nbytes)
    return fresh


def _wish(address: int, num_bytes: int) -> None:
    """Of the huge pages that lie within this memory."""
    start, stop = -(-address // HUGE_PAGE) * HUGE_PAGE, (address + num_bytes) // HUGE_PAGE * HUGE_PAGE
    if start < stop:
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        madvise(start, stop - start, mmap.MADV_HUGEPAGE)  # a kernel without them refuses: small ones, then
