"""How often intervals contain the truth: wild bootstrap and profile, studies of 9, 15 and 40 cells with 2 seeds.

The longer version of tests/analysis/intervals/test_coverage.py, and about worlds that are less kind.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis" / "intervals"))

from simulated_cells import SHAPES, SURFACE, TRUE_LAW, TRUE_VALUES, at, cells  # noqa: E402

from analysis.fitting.fit import fit_form  # noqa: E402
from analysis.forms.form import Floats, Law  # noqa: E402
from analysis.intervals.profile import profile  # noqa: E402
from analysis.intervals.wild import refit  # noqa: E402

NUM_WORLDS, NUM_REFITS = 200, 300  # four minutes on an idle core; one standard error of a share is 1.5 %
POINTS = {"parameters": [6e7, 6e8, 2e9], "samples_seen": [1e9, 1e10, 3e10]}  # centre, corner, beyond it
EXPONENT = "exponent_parameters"
COLUMNS = ("centre", "corner", "beyond", "all three", "exponent", "floor", "profile of it")


def main() -> None:
    no_floor = tuple(SURFACE.theta({**TRUE_VALUES, "floor": 1e-6}))
    worlds = (
        ("normal noise", TRUE_LAW, False, tuple(SHAPES)),
        ("heavy tails", TRUE_LAW, True, (15,)),
        ("no floor", dataclasses.replace(TRUE_LAW, theta=no_floor), False, (15,)),
    )
    print(
        f"coverage of 95 % intervals, {NUM_WORLDS} worlds each, {NUM_REFITS} refits; fits without a law are left out"
    )
    print(f"{'world':14}{'cells':>6}{'laws':>6}" + "".join(f"{name:>15}" for name in COLUMNS))
    for name, law, heavy_tails, shapes in worlds:
        for num_cells in shapes:
            rows = [row for seed in range(NUM_WORLDS) if (row := covered(num_cells, law, heavy_tails, seed))]
            told = "".join(f"{share:15.1%}" for share in np.mean(rows, axis=0))
            print(f"{name:14}{num_cells:6}{len(rows):6}{told}", flush=True)


def covered(num_cells: int, law: Law, heavy_tails: bool, seed: int) -> list[bool]:
    """Whether each interval of `COLUMNS` contains the truth in one world; empty where no law is stated."""
    fit = fit_form(cells(num_cells, seed=seed, law=law, heavy_tails=heavy_tails), SURFACE)
    refits = refit(fit, num_refits=NUM_REFITS, seed=seed)
    if refits.reason:
        return []
    x_MK, truth_M = at(fit.found, **POINTS), law.predict(**POINTS)

    def errors(theta_RP: Floats) -> Floats:
        return refits.fit.form.predict(theta_RP, x_MK)

    pointwise, band = refits.curve(errors), refits.curve(errors, simultaneous=True)
    inside_M = (pointwise.lower_M <= truth_M) & (truth_M <= pointwise.upper_M)
    floor = law.value("floor")
    return [
        *map(bool, inside_M),
        bool(np.all((band.lower_M <= truth_M) & (truth_M <= band.upper_M))),
        refits.parameter(EXPONENT).contains(law.value(EXPONENT)),
        refits.parameter("floor").contains(floor),
        profile(fit, "floor").interval.contains(floor),
    ]


if __name__ == "__main__":
    main()
