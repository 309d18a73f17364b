"""Runs of equal compute are one level, and its polynomial has the bottom that the truth has."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from simulated_sweep import CLASSES

from analysis.forms.isoflop import valley
from analysis.study.isoflop import isoflop_fits, same_compute
from analysis.study.study import StudyOptions, study_metric

SIZES = np.geomspace(1e6, 2.56e8, 9)
METRIC = "linear_probe.top1"


def isoflop_table(compute: float) -> pd.DataFrame:
    """Nine towers trained with one compute: error 0.1 + N**-0.4 + D**-0.4 in units that put the bottom at 1.6e7."""
    samples = compute / (6e3 * SIZES)
    error = 0.1 + 0.2 * (SIZES / 1.6e7) ** -0.4 + 0.2 * (samples / (compute / (6e3 * 1.6e7))) ** -0.4
    rows = {
        "run_id": [f"superclass-{row}-{compute:g}" for row in range(len(SIZES))],
        "objective": "superclass",
        "image_tower": [f"tower_{row}" for row in range(len(SIZES))],
        "samples_seen": samples.astype(int),
        "seed": 0,
        "status": "done",
        "reason": "",
        "train_flops": compute * np.linspace(0.95, 1.05, len(SIZES)),
        "planned_train_flops": compute,
        "parameters.image_tower": SIZES,
        "measured_samples_seen": samples.astype(int),
        METRIC: 1 - error,
        "linear_probe.chance": 1 / CLASSES,
        "evaluation.linear_probe.samples_seen": samples.astype(int),
        "evaluation.linear_probe.num_samples": 2_000,
    }
    return pd.DataFrame(rows)


def test_the_bottom_of_a_level_is_where_the_truth_has_it() -> None:
    table = pd.concat([isoflop_table(1e15), isoflop_table(1e17)], ignore_index=True)
    levels = isoflop_fits(study_metric(table, METRIC, StudyOptions(num_refits=20)))["superclass"]
    assert list(levels) == pytest.approx([1e15, 1e17], rel=0.01)
    for fit in levels.values():
        found = valley(fit.found, float(SIZES.min()), float(SIZES.max()))
        assert found.optimum == pytest.approx(1.6e7, rel=0.1)


def test_a_level_spans_no_more_than_its_factor() -> None:
    compute_N = np.asarray([1.0, 1.2, 1.3, 5.0, 5.5, 100.0])
    assert [list(level) for level in same_compute(compute_N)] == [[0, 1], [2], [3, 4], [5]]
