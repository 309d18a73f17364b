"""Drills notice every way in which two runs can differ."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from scaling.drill.comparison import (
    difference_of_losses,
    difference_of_samples,
    difference_of_weights,
)
from scaling.records import RunDirectory, append_lines, read_lines

STEPS = 4


@pytest.fixture
def reference(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "reference")
    run.path.mkdir()
    rows = [{"step": step + 1, "loss": 8.0 - step, "gradient_norm": 2.0 + step} for step in range(STEPS)]
    append_lines(run.metrics, [*rows, {"samples_seen": 64, "held_out_loss": 8.1}])
    append_lines(run.samples, [{"step": step, "ids_hash": f"{step:016x}"} for step in range(STEPS)])
    save_file({"head": torch.arange(4.0), "tower": torch.ones(2)}, run.weights)
    return run


@pytest.fixture
def run(reference: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(reference.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def rewrite(path: Path, place: int, **changes: Any) -> None:
    """Change values of one line of a file."""
    rows = list(read_lines(path))
    rows[place] |= changes
    path.unlink()
    append_lines(path, rows)


def repeat(path: Path) -> None:
    """Write the last line of training twice."""
    append_lines(path, [list(read_lines(path))[STEPS - 1]])


def test_equal_runs_have_no_difference(run: RunDirectory, reference: RunDirectory) -> None:
    assert difference_of_losses(run, reference) == ""
    assert difference_of_samples(run, reference) == ""
    assert difference_of_weights(run, reference) == ""


def test_the_last_bit_of_a_loss_counts_unless_a_tolerance_is_given(
    run: RunDirectory, reference: RunDirectory
) -> None:
    rewrite(run.metrics, 2, loss=6.0 * (1 + 1e-9))
    assert "loss 6.00" in difference_of_losses(run, reference)
    assert difference_of_losses(run, reference, relative=1e-5) == ""
    rewrite(run.metrics, 2, loss=6.0 * (1 + 1e-4))
    assert "at step 3" in difference_of_losses(run, reference, relative=1e-5)


def test_a_gradient_norm_counts_too(run: RunDirectory, reference: RunDirectory) -> None:
    rewrite(run.metrics, 0, gradient_norm=2.001)
    assert "gradient_norm" in difference_of_losses(run, reference)
    assert "gradient_norm" in difference_of_losses(run, reference, relative=1e-5)


def test_a_step_told_twice_is_a_difference(run: RunDirectory, reference: RunDirectory) -> None:
    repeat(run.metrics)
    assert "steps [1, 2, 3, 4, 4]" in difference_of_losses(run, reference, relative=1e-5)
    repeat(run.samples)
    assert "[0, 1, 2, 3, 3]" in difference_of_samples(run, reference)


def test_other_samples_in_a_step_are_a_difference(run: RunDirectory, reference: RunDirectory) -> None:
    rewrite(run.samples, 1, ids_hash="f" * 16)
    assert "'step': 1" in difference_of_samples(run, reference)


def test_a_batch_left_out_is_a_difference_unless_it_was_to_be(
    run: RunDirectory, reference: RunDirectory
) -> None:
    rows = [row for row in read_lines(run.samples) if row["step"] != 2]
    run.samples.unlink()
    append_lines(run.samples, rows)
    assert difference_of_samples(run, reference)
    assert difference_of_samples(run, reference, left_out=2) == ""
    assert difference_of_samples(run, reference, left_out=1)


def test_one_bit_of_a_weight_is_a_difference(run: RunDirectory, reference: RunDirectory) -> None:
    weights = {"head": torch.arange(4.0), "tower": torch.ones(2)}
    weights["tower"].view(torch.int32)[1] ^= 1
    save_file(weights, run.weights)
    assert difference_of_weights(run, reference) == "tower differ"
