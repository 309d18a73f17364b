"""Runs of a study that nobody trained: errors drawn around two believed laws, so that the truth is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.design.beliefs import Belief, Beliefs
from analysis.design.cells import Cell
from analysis.forms.form import Floats
from scaling.units import format_quantity

METRIC = "zero_shot.top1"


def simulated_runs(
    beliefs: Beliefs, seeds: Mapping[Cell, int], *, seed: int = 0, metric: str = METRIC
) -> pd.DataFrame:
    """One row per run, in the columns of imported results, of both objectives in `seeds` runs of each cell.

    Errors are those of the laws plus the noise of the beliefs: of the cell, in part the same for both objectives, and
    of the run.  ValueError where that gives an error outside (0, 1).
    """
    generator, num_cells = np.random.default_rng(seed), len(seeds)
    common_C = generator.normal(size=num_cells)
    frames = []
    for belief in (beliefs.studied, beliefs.rival):
        noise, own_C = beliefs.noise, generator.normal(size=num_cells)
        cell_C = noise.cell * (np.sqrt(noise.shared) * common_C + np.sqrt(1 - noise.shared) * own_C)
        table = _runs(belief, seeds, cell_C)
        table["error"] += noise.run * generator.normal(size=len(table))
        frames.append(table)
    runs = pd.concat(frames, ignore_index=True).assign(metric=metric)
    if not runs["error"].between(0, 1, inclusive="neither").all():
        raise ValueError(f"{beliefs.noise}: noise so large that some error is not between 0 and 1.")
    return runs


def _runs(belief: Belief, seeds: Mapping[Cell, int], cell_C: Floats) -> pd.DataFrame:
    """The runs of one objective, with the error of the law and of its cell."""
    theta_RP = np.asarray([belief.law.theta])
    error_C = belief.law.form.predict(theta_RP, belief.x(list(seeds)))[0] + cell_C
    rows = [
        {
            "run_id": f"{belief.objective}-{cell.image_tower}-{format_quantity(cell.samples_seen)}-s{repeat}",
            "objective": belief.objective,
            "image_tower": cell.image_tower,
            "samples_seen": cell.samples_seen,
            "seed": repeat,
            "parameters": float(belief.menu.parameters_T[belief.tower(cell)]),
            "train_flops": belief.train_flops(cell),
            "cell": cell.label,
            "error": error,
        }
        for (cell, count), error in zip(seeds.items(), error_C.tolist(), strict=True)
        for repeat in range(count)
    ]
    return pd.DataFrame(rows)
