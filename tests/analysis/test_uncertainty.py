"""The cell bootstrap: whole cells, seeded, honest about failures."""

import time

import numpy as np
import pandas as pd
import pytest

from analysis.uncertainty import bootstrap_cells

SIZES, SAMPLES = (1.0, 4.0, 12.0), (1.0, 3.0, 10.0)


def points(noise: float = 0.02, seeds: int = 1, cells: int = 9, seed: int = 0) -> pd.DataFrame:
    """Runs of a known law, error = 0.2 + 0.5 (C / 1e13)^-0.4, with relative noise."""
    rng = np.random.default_rng(seed)
    grid = [(size, samples) for size in SIZES for samples in SAMPLES][:cells]
    rows = []
    for size, samples in grid:
        for _ in range(seeds):
            error = (0.2 + 0.5 * (size * samples) ** -0.4) * np.exp(noise * rng.standard_normal())
            cell = {"objective": "superclass", "image_tower": f"vit_{size}", "samples_seen": samples}
            rows.append(cell | {"train_flops": size * samples * 1e13, "error": error})
    return pd.DataFrame(rows)


def test_the_same_seed_gives_the_same_intervals_and_another_seed_does_not() -> None:
    first, again, other = (bootstrap_cells(points(), num_refits=50, seed=seed) for seed in (1, 1, 2))
    assert first.interval("exponent") == again.interval("exponent") != other.interval("exponent")


def test_the_interval_and_the_band_hold_the_truth_on_a_clean_sweep() -> None:
    bootstrap = bootstrap_cells(points(noise=0.01), num_refits=200)
    lower, upper = bootstrap.interval("exponent")
    assert 0.2 < lower < 0.4 < upper < 0.8
    compute = np.geomspace(1e13, 1.2e15, 5)
    low, high = bootstrap.band(compute)
    truth = 0.2 + 0.5 * (compute / 1e13) ** -0.4
    assert np.all(low * 0.99 < truth) and np.all(truth < high * 1.01)


def test_more_noise_means_a_wider_interval() -> None:
    narrow, wide = (bootstrap_cells(points(noise=noise), num_refits=100) for noise in (0.005, 0.04))
    assert np.ptp(wide.interval("exponent")) > 2 * np.ptp(narrow.interval("exponent"))


def test_seeds_of_one_cell_are_drawn_together() -> None:
    assert bootstrap_cells(points(seeds=3), num_refits=10).num_cells == 9


def test_fewer_than_five_cells_give_no_interval_and_say_so() -> None:
    bootstrap = bootstrap_cells(points(cells=4, seeds=3))
    assert bootstrap.interval("exponent") is None and bootstrap.band([1e13]) is None
    assert "4 cells, at least 5 are needed" in bootstrap.reason
    assert bootstrap.failed_share is None


def test_the_share_of_failed_refits_is_reported() -> None:
    bootstrap = bootstrap_cells(points(cells=5, noise=0.08), num_refits=200)
    assert bootstrap.failed_share == pytest.approx(1 - len(bootstrap.laws) / 200)
    assert bootstrap.failed_share > 0.05


def test_when_most_refits_fail_there_is_no_interval() -> None:
    rising = points(noise=0.0)
    rising["error"] = 1 - rising["error"]
    bootstrap = bootstrap_cells(rising, num_refits=50)
    assert bootstrap.interval("floor") is None and "determined no law" in bootstrap.reason


def test_two_hundred_refits_of_nine_points_take_less_than_three_seconds() -> None:
    start = time.process_time()
    bootstrap_cells(points(noise=0.05), num_refits=200)
    assert time.process_time() - start < 3
