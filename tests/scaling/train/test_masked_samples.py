from __future__ import annotations

import types
from typing import Any

import pytest
import torch

from scaling.train.masked_samples import MaskedSamples, TooManyBadSamples, check_bad_samples
from scaling.train.progress import Progress


def batch(undecodable: int, empty: int, **rejects: int) -> Any:
    return types.SimpleNamespace(num_undecodable=undecodable, num_empty_captions=empty, rejects=rejects)


def test_masked_samples_add_up_over_batches_and_are_counted_once() -> None:
    masked, progress = MaskedSamples(), Progress(num_ranks=1)
    for _ in range(2):
        masked.note(batch(2, 1, truncated=2, wordless=1))
        masked.note(batch(0, 1, wordless=1))
        masked.add_to(progress, torch.device("cpu"))
    assert (progress.undecodable_images, progress.empty_captions) == (4, 4)
    assert progress.rejects == {"truncated": 4, "wordless": 4}


def bad(num_bad: int, **rejects: int) -> Progress:
    return Progress(num_ranks=1, undecodable_images=num_bad, rejects=rejects)


def test_more_bad_samples_than_allowed_end_the_run_and_a_few_do_not() -> None:
    check_bad_samples(bad(16), 64, 0.05)
    check_bad_samples(bad(50), 1_000, 0.05)
    with pytest.raises(TooManyBadSamples, match=r"51 of 1,000 samples .* \(broken: 50, other: 1\).*\(0.05\)"):
        check_bad_samples(bad(51, other=1, broken=50), 1_000, 0.05)
