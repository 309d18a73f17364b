"""Choosing pairs one after the other, with replacement: a cell chosen twice is two seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from analysis.design.beliefs import Beliefs
from analysis.design.cells import Cell, Design, Runs
from analysis.design.precision import VAGUE, lacking, precision_of
from analysis.design.ratio import LogRatio

LEAST_NARROWING = 2e-3  # relatively, of a pair that is worth proposing
MOST_PAIRS = 200
MOST_SEEDS = 3  # of a cell: more would bet on its noise being shared by the objectives exactly


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A cell in which one run of each objective could be added."""

    cell: Cell
    device_hours: float  # of both runs; 0: paid for already, and possible once

    def __post_init__(self) -> None:
        if not (math.isfinite(self.device_hours) and self.device_hours >= 0):
            raise ValueError(f"cell {self.cell.label}: {self.device_hours} device-hours; give 0 or more.")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What a search chose, in order, and half the width of the interval of ln r that is left."""

    candidates: tuple[Candidate, ...]
    width: float  # inf: no interval would be stated


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """A greedy search for a narrow interval of one ratio."""

    wanted: LogRatio
    beliefs: Beliefs
    per_hour: bool  # gain per device-hour, or gain

    def choose(self, design: Design, priced: Sequence[Candidate], budget: float) -> Chosen:
        """Pairs within the budget: first what an interval needs at all, then what narrows it; never what widens it."""
        chosen: list[Candidate] = []
        left, unspent = budget, {candidate for candidate in priced if candidate.device_hours == 0}
        while len(chosen) < MOST_PAIRS:
            possible = [candidate for candidate in priced if _possible(candidate, design, left, unspent)]
            best = self._best(design, possible)
            if best is None:
                break
            unspent.discard(best)
            left -= best.device_hours
            design = design.with_pair(best.cell)
            chosen.append(best)
        stated = not lacking(self.beliefs, design)
        return Chosen(candidates=tuple(chosen), width=self._width(design) if stated else math.inf)

    def _best(self, design: Design, possible: Sequence[Candidate]) -> Candidate | None:
        width, short = self._width(design), self._shortfall(design)
        best, most = None, (0, False, 0.0)
        for candidate in possible:
            grown = design.with_pair(candidate.cell)
            gain, filled = math.log(width / self._width(grown)), short - self._shortfall(grown)
            if gain < LEAST_NARROWING and not (filled and gain >= 0):
                continue
            free = candidate.device_hours == 0
            worth = (filled, free, gain / candidate.device_hours if self.per_hour and not free else gain)
            if best is None or worth > most:
                best, most = candidate, worth
        return best

    def _width(self, design: Design) -> float:
        """Half the width; a vague prior compares designs that determine nothing yet."""
        return precision_of(self.wanted, self.beliefs, design, prior=VAGUE).half_width()

    def _shortfall(self, design: Design) -> int:
        return sum(lack.least - lack.number for lack in lacking(self.beliefs, design))


def _possible(candidate: Candidate, design: Design, left: float, unspent: set[Candidate]) -> bool:
    runs = design.runs.get(candidate.cell, Runs())
    if max(runs.studied, runs.rival) >= MOST_SEEDS:
        return False
    return candidate in unspent if candidate.device_hours == 0 else candidate.device_hours <= left
