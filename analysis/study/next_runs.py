"""What to train next in a study: candidate cells around its grid, at the prices its own runs paid."""

from __future__ import annotations

import itertools

from analysis.design.cells import Cell
from analysis.design.propose import Proposal, measured_flops_per_hour, propose_for
from analysis.study.study import MetricStudy, sides_of

LARGER = (1, 2, 4)  # times the largest samples_seen: how far beyond the grid candidates reach


def next_runs(study: MetricStudy, budget: float, compute: float | None = None) -> Proposal:
    """The pairs to train within `budget` device-hours for the narrowest ratio at `compute` training FLOPs.

    None for `compute`: that of the study's conclusion.  ValueError where there is no such conclusion, with its reason.
    """
    comparison, sides = study.comparison, sides_of(study)
    if comparison is None or comparison.ratio is None or len(sides) < 2:
        reason = comparison.reason if comparison else "the study has no two objectives with finished runs"
        raise ValueError(
            f"{study.metric}: no ratio to make narrower: {reason}. Finish a first grid, or run `scaling design` "
            "without a sweep for the shape of one."
        )
    wanted = compute or comparison.reference_compute
    assert wanted is not None, "a comparison with a ratio has a reference compute"
    rates = measured_flops_per_hour(study.table)
    cells = candidate_cells(study)
    return propose_for(sides[0], sides[1], cells, budget=budget, compute=wanted, flops_per_hour=rates)


def candidate_cells(study: MetricStudy) -> tuple[Cell, ...]:
    """Every tower that both objectives have, at every samples_seen of the study and up to 4 times the largest."""
    sides = sides_of(study)
    towers = [name for name in sides[0].menu.towers if name in sides[1].menu.towers]
    known = sorted({int(samples) for samples in study.table["samples_seen"].dropna()})
    samples = sorted({*known, *(factor * known[-1] for factor in LARGER)})
    return tuple(
        Cell(image_tower=tower, samples_seen=count) for tower, count in itertools.product(towers, samples)
    )
