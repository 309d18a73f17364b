"""A simulated study has the truth it was given, and is a sweep folder like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.design.assumed import assumed_beliefs
from analysis.design.beliefs import Beliefs
from analysis.design.cells import Cell, grid
from analysis.design.noise import Noise
from analysis.design.simulated_folder import study_folder, write_simulated_folder
from analysis.design.simulated_runs import simulated_runs
from analysis.load import load_sweep, read_plan
from analysis.selection.holdout import openings, sealed_runs

CELLS = grid(("vit_s16", "vit_b16", "vit_l16"), (128_000_000, 512_000_000, 1_280_000_000))


def noisy(**noise: float) -> Beliefs:
    return assumed_beliefs(noise=Noise(**{"cell": 0.0, "run": 0.0, "shared": 1.0, **noise}))


def misses(beliefs: Beliefs, seeds: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Errors of the runs minus those of the law, by objective."""
    runs = simulated_runs(beliefs, dict.fromkeys(CELLS, seeds), seed=seed)
    found = {}
    for belief in (beliefs.studied, beliefs.rival):
        mine = runs[runs["objective"] == belief.objective]
        truth = belief.law.predict(parameters=mine["parameters"], samples_seen=mine["samples_seen"])
        found[belief.objective] = mine["error"].to_numpy() - truth
    return found


def test_runs_scatter_around_the_law_by_the_stated_noise() -> None:
    found = misses(noisy(run=0.004), seeds=200)
    assert found["clip"].std() == pytest.approx(0.004, rel=0.05)
    assert abs(found["clip"].mean()) < 4 * 0.004 / np.sqrt(len(found["clip"]))


def test_shared_noise_of_a_cell_is_the_same_for_both_objectives_and_all_seeds() -> None:
    found = misses(noisy(cell=0.006), seeds=2)
    np.testing.assert_allclose(found["clip"], found["superclass"], atol=1e-12)
    np.testing.assert_allclose(found["clip"][::2], found["clip"][1::2], atol=1e-12)
    apart = misses(noisy(cell=0.006, shared=0.0), seeds=1)
    assert abs(np.corrcoef(apart["clip"], apart["superclass"])[0, 1]) < 0.9


def test_noise_that_leaves_the_range_of_errors_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        misses(noisy(run=2.0), seeds=2)


def test_a_folder_with_runs_is_studied_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine/run").mkdir(parents=True)
    (tmp_path / "mine/run/point.json").write_text("{}")
    assert study_folder(tmp_path / "mine", tmp_path / "simulated") == tmp_path / "mine"
    assert not (tmp_path / "simulated").exists()


def test_a_simulated_folder_is_a_sweep_folder_and_the_same_each_time(tmp_path: Path) -> None:
    seeds = {Cell(image_tower=tower, samples_seen=512_000_000): 2 for tower in ("vit_s16", "vit_b16")}
    diverged = ("clip-vit_s16-512M-s1",)
    for name in ("one", "other"):
        write_simulated_folder(tmp_path / name, assumed_beliefs(), seeds, diverged=diverged)
    write_simulated_folder(tmp_path / "one", assumed_beliefs(), seeds, diverged=diverged)
    table = load_sweep(tmp_path / "one")
    assert dict(table["status"].value_counts()) == {"done": 7, "diverged": 1}
    assert table["train_flops"].notna().sum() == 7 and table["zero_shot.top1"].between(0, 1).sum() == 7
    for path in sorted((tmp_path / "one").rglob("*.json")):
        twin = tmp_path / "other" / path.relative_to(tmp_path / "one")
        assert path.read_text().replace('"one"', '"other"') == twin.read_text()


def test_a_simulation_is_not_written_over_runs_of_another_study(tmp_path: Path) -> None:
    seeds = {Cell(image_tower="vit_s16", samples_seen=512_000_000): 1}
    (tmp_path / "superclass-vit_l16-1.28B-s0").mkdir()
    (tmp_path / "superclass-vit_l16-1.28B-s0/point.json").write_text("{}")
    with pytest.raises(ValueError, match="not of this simulation"):
        write_simulated_folder(tmp_path, assumed_beliefs(), seeds)


def test_a_held_out_cell_is_in_the_plan_and_its_opening_on_record(tmp_path: Path) -> None:
    held = CELLS[-1]
    folder = write_simulated_folder(
        tmp_path / "study", noisy(run=0.004), dict.fromkeys(CELLS, 1), holdout=(held,)
    )
    planned = read_plan(folder).holdout
    assert len(planned) == 2 and all("vit_l16-1.28B" in run_id for run_id in planned)
    assert openings(folder)[0].run_ids == planned and not sealed_runs(folder, planned)
