"""Compares two runs: losses, gradient norms, samples, label counts, weights.  "" stands for no difference."""

from __future__ import annotations

import math
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from scaling.checkpoints.reading import Checkpoint
from scaling.records import RunDirectory, read_lines

RELATIVE = 1e-5  # allowed between losses whose sums are taken in another order, in float32
# likewise of gradient norms, whose last digits differ more; 4e-6 was seen
RELATIVE_OF_NORMS = 2e-5


def trained_rows(run: RunDirectory) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl that belong to training steps, in the order of the file."""
    return [row for row in read_lines(run.metrics) if "loss" in row]


def difference_of_losses(run: RunDirectory, reference: RunDirectory, *, relative: float = 0.0) -> str:
    """The first step whose loss or gradient norm differs by more than `relative`, "" if none does."""
    found, expected = trained_rows(run), trained_rows(reference)
    steps = [row["step"] for row in found]
    if steps != [row["step"] for row in expected]:
        return f"rows of metrics for steps {steps}"
    for row, other in zip(found, expected, strict=True):
        for key, limit in (("loss", relative), ("gradient_norm", relative and RELATIVE_OF_NORMS)):
            if not math.isclose(row[key], other[key], rel_tol=limit):
                return f"{key} {row[key]!r} at step {row['step']}, not {other[key]!r}"
    return ""


def difference_of_samples(run: RunDirectory, reference: RunDirectory, *, left_out: int | None = None) -> str:
    """The first step whose samples differ, "" if none does; `left_out` is the step whose batch was skipped."""
    found = list(read_lines(run.samples))
    expected = [row for row in read_lines(reference.samples) if row["step"] != left_out]
    if [row["step"] for row in found] != [row["step"] for row in expected]:
        return f"the ledger has the steps {[row['step'] for row in found]}"
    return next((f"{row}, not {other}" for row, other in zip(found, expected) if row != other), "")


def label_counts(run: RunDirectory) -> dict[str, Tensor]:
    """The counts of labels in a run's last checkpoint."""
    folder = run.latest_checkpoint()
    assert folder is not None, run.path
    return Checkpoint.open(folder).own("label_statistics", rank=0)


def difference_of_counts(run: RunDirectory, reference: RunDirectory) -> str:
    """The label statistics that differ at the end, "" if none does."""
    return _difference_of_tensors(label_counts(run), label_counts(reference))


def difference_of_weights(run: RunDirectory, reference: RunDirectory) -> str:
    """The trained weights that differ in any bit, "" if none does."""
    return _difference_of_tensors(load_file(run.weights), load_file(reference.weights))


def _difference_of_tensors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    if found.keys() != expected.keys():
        return f"{sorted(found.keys() ^ expected.keys())} only on one side"
    differing = [name for name, values in found.items() if not torch.equal(values, expected[name])]
    return f"{', '.join(sorted(differing)[:3])} differ" if differing else ""
