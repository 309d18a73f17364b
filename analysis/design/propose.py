"""Which pairs of runs to train next: the narrowest expected interval of the ratio per device-hour, under a budget.

Always both objectives in a cell, so that its noise cancels. Two greedy searches run, for gain per hour and for gain,
because the first spends itself on small cells and the second on the largest; the narrower proposal wins (Leskovec
2007, cost-effective forward selection).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from analysis.comparison.side import Side
from analysis.design.beliefs import Belief, Beliefs
from analysis.design.cells import Cell, Design
from analysis.design.greedy import Candidate, Search
from analysis.design.noise import Noise, noise_of
from analysis.design.precision import Precision, precision_of
from analysis.design.ratio import log_ratio
from scaling.units import format_flops

# dense bf16 peak of NVIDIA's data sheet for the SXM; 40 % is assumed
H100_FLOPS_PER_HOUR = 989e12 * 0.4 * 3600

SPEED_COLUMNS = (("train_flops", "measured_device_hours"), ("planned_train_flops", "planned_device_hours"))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProposedPair:
    """A pair of runs, and where the study stands with it and all before it."""

    cell: Cell
    device_hours: float
    after: Precision


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What to train next, in the order in which it pays."""

    compute: float
    budget: float  # device-hours
    noise: Noise
    before: Precision
    pairs: tuple[ProposedPair, ...]

    @property
    def after(self) -> Precision:
        """Where the study would stand."""
        return self.pairs[-1].after if self.pairs else self.before

    @property
    def device_hours(self) -> float:
        """Of all proposed runs."""
        return sum(pair.device_hours for pair in self.pairs)

    def sentence(self) -> str:
        """Before, after and price in words."""
        if not self.pairs:
            return (
                f"Within {self.budget:g} device-hours no candidate narrows the interval of the ratio at "
                f"{format_flops(self.compute)} FLOPs."
            )
        pairs = "1 pair" if len(self.pairs) == 1 else f"{len(self.pairs)} pairs"
        return (
            f"{pairs} of runs for {_hours(self.device_hours)} of {_hours(self.budget)} device-hours: the ratio at "
            f"{format_flops(self.compute)} FLOPs is expected at {self.after.text()}, now {self.before.text()}."
        )


def measured_flops_per_hour(table: pd.DataFrame) -> dict[str, float]:
    """Training FLOPs of a device in an hour, by objective: the median of a sweep's finished runs, else of its plan.

    Without either for an objective, H100_FLOPS_PER_HOUR. `table` as of load_sweep.
    """
    speeds = {}
    for objective, runs in table.groupby("objective"):
        speeds[str(objective)] = H100_FLOPS_PER_HOUR
        for flops, hours in SPEED_COLUMNS:
            if {flops, hours} <= set(runs.columns):
                known = (runs[flops] / runs[hours]).dropna()
                known = known[(known > 0) & (known < math.inf)]
                if len(known):
                    speeds[str(objective)] = float(known.median())
                    break
    return speeds


def candidates(
    beliefs: Beliefs,
    cells: Sequence[Cell],
    *,
    flops_per_hour: float | Mapping[str, float] = H100_FLOPS_PER_HOUR,
    paid: Collection[Cell] = (),
) -> tuple[Candidate, ...]:
    """The cells with the device-hours of a pair; 0 for cells that are paid for already.

    `flops_per_hour`: training FLOPs of a device in an hour, of all runs or by objective, best as measured in the study.
    """

    def hours(belief: Belief, cell: Cell) -> float:
        rate = flops_per_hour[belief.objective] if isinstance(flops_per_hour, Mapping) else flops_per_hour
        return belief.train_flops(cell) / rate

    return tuple(
        Candidate(
            cell=cell,
            device_hours=0.0 if cell in paid else hours(beliefs.studied, cell) + hours(beliefs.rival, cell),
        )
        for cell in cells
    )


def propose_for(
    studied: Side,
    rival: Side,
    cells: Sequence[Cell],
    *,
    budget: float,
    compute: float,
    flops_per_hour: float | Mapping[str, float] = H100_FLOPS_PER_HOUR,
    paid: Collection[Cell] = (),
    noise: Noise | None = None,
) -> Proposal:
    """What to add to a finished or half-finished study; ValueError where a side has no law.

    Without `noise` that of the fits' residuals is used.
    """
    beliefs = Beliefs(
        studied=Belief.of_side(studied),
        rival=Belief.of_side(rival),
        noise=noise_of(studied.fit, rival.fit) if noise is None else noise,
    )
    priced = candidates(beliefs, cells, flops_per_hour=flops_per_hour, paid=paid)
    return propose(beliefs, Design.of_sides(studied, rival, cells), priced, budget=budget, compute=compute)


def propose(
    beliefs: Beliefs, design: Design, priced: Sequence[Candidate], *, budget: float, compute: float
) -> Proposal:
    """The pairs to add to a design, of any number of runs, within `budget` device-hours."""
    if not budget >= 0:
        raise ValueError(f"budget {budget} device-hours: give 0 or more.")
    wanted = log_ratio(beliefs.studied, beliefs.rival, compute)
    attempts = [
        Search(wanted=wanted, beliefs=beliefs, per_hour=per_hour).choose(design, priced, budget)
        for per_hour in (True, False)
    ]
    best = min(attempts, key=lambda attempt: attempt.width)
    grown, pairs = design, []
    for candidate in best.candidates:
        grown = grown.with_pair(candidate.cell)
        after = precision_of(wanted, beliefs, grown)
        pairs.append(ProposedPair(cell=candidate.cell, device_hours=candidate.device_hours, after=after))
    return Proposal(
        compute=compute,
        budget=budget,
        noise=beliefs.noise,
        before=precision_of(wanted, beliefs, design),
        pairs=tuple(pairs),
    )


def _hours(hours: float) -> str:
    """Three digits, whole from a hundred on: 0.932, 10,100."""
    rounded = float(f"{hours:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"
