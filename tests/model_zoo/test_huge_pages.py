"""Fresh memory in huge pages: what the kernel is asked for, and what is left as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from model_zoo.huge_pages import HUGE_PAGE, in_huge_pages

MAPPINGS = Path("/proc/self/smaps")
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def wished_for(x: Tensor) -> bool:
    """Whether the mapping around the middle of the tensor's memory is marked for huge pages."""
    address = x.data_ptr() + x.nbytes // 2
    inside = False
    for line in MAPPINGS.read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return "hg" in line.split()
    raise AssertionError(f"no mapping holds {address:#x}")


@pytest.mark.skipif(
    not (MAPPINGS.exists() and SETTING.exists()),
    reason="this kernel has no transparent huge pages to wish for",
)
def test_a_large_tensor_is_wished_for_in_huge_pages_and_is_the_same_tensor() -> None:
    x = torch.empty(64 * HUGE_PAGE, dtype=torch.uint8)  # beyond what the allocator keeps for later use
    assert in_huge_pages(x) is x
    assert wished_for(x)


@pytest.mark.parametrize("num_bytes", [0, 1, HUGE_PAGE - 1, HUGE_PAGE + 1])
def test_tensors_too_small_to_hold_a_huge_page_are_taken_as_they_are(num_bytes: int) -> None:
    x = torch.zeros(num_bytes, dtype=torch.uint8)
    assert in_huge_pages(x) is x and not x.any()


def test_tensors_without_memory_are_taken_as_they_are() -> None:
    with FakeTensorMode():
        fake = torch.empty(64 * HUGE_PAGE, dtype=torch.uint8)
    meta = torch.empty(64 * HUGE_PAGE, dtype=torch.uint8, device="meta")
    assert in_huge_pages(fake) is fake and in_huge_pages(meta) is meta
