"""Designs as rows of text, for a report, a notebook and a terminal: headings and cells, no markup."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.design.precision import Precision
from analysis.design.propose import H100_FLOPS_PER_HOUR, Proposal
from analysis.design.shapes import DEFAULT_SHAPE, ExpectedShape
from analysis.design.simulate import SimulatedRatios
from scaling.units import format_flops

Rows = tuple[tuple[str, ...], ...]


def design_table(
    expected: Sequence[ExpectedShape],
    compute_M: Sequence[float],
    *,
    flops_per_hour: float = H100_FLOPS_PER_HOUR,
) -> tuple[tuple[str, ...], Rows]:
    """Headings and one row per shape: cells, runs, cost, and the expected ratio at each compute."""
    at = [f"ratio at {format_flops(compute)} FLOPs" for compute in compute_M]
    simulated = any(one.simulated_M for one in expected)
    headings: tuple[str, ...] = ("shape", "cells", "runs", "train FLOPs", "device-hours")
    headings += tuple(
        f"{name}{kind}" for name in at for kind in (("", ", simulated") if simulated else ("",))
    )
    rows = []
    for one in expected:
        told: list[str] = []
        for row, found in enumerate(one.precision_M):
            told.append(found.text())
            told += [simulated_text(one.simulated_M[row])] if one.simulated_M else [""] * simulated
        hours = f"{one.train_flops / flops_per_hour:,.0f}"
        counts = (str(len(one.shape.seeds)), str(one.shape.num_runs), format_flops(one.train_flops), hours)
        rows.append((one.shape.name, *counts, *told))
    return headings, tuple(rows)


def default_reason(expected: Sequence[ExpectedShape], compute: float, row: int = 0) -> str:
    """Why the default shape is the default, in a sentence: its price and precision beside the dearest shape's.

    `row` is the place of `compute` among the computes that were asked for; ValueError without the default shape.
    """
    found = {one.shape.name: one for one in expected}
    if DEFAULT_SHAPE not in found:
        raise ValueError(f"shapes {tuple(found)}: the default, {DEFAULT_SHAPE!r}, is not among them.")
    default, dearest = found[DEFAULT_SHAPE], max(expected, key=lambda one: one.train_flops)
    share = default.train_flops / dearest.train_flops
    return (
        f"{DEFAULT_SHAPE} ({default.shape.num_runs} runs) costs {format_flops(default.train_flops)} training FLOPs, "
        f"{share:.2f}x of {dearest.shape.name}, and is expected to tell the ratio at {format_flops(compute)} FLOPs as "
        f"{default.precision_M[row].text()}; {dearest.shape.name} as {dearest.precision_M[row].text()}."
    )


def proposal_table(proposal: Proposal) -> tuple[tuple[str, ...], Rows]:
    """Headings and one row per proposed pair, cells in a row of the same kind counted together, "now" first."""
    headings = (
        "train next (both objectives)",
        "pairs",
        "device-hours",
        "expected ratio",
        "half width of ln r",
    )
    rows = [("now", "", "", proposal.before.text(), _width_text(proposal.before))]
    pairs = list(proposal.pairs)
    while pairs:
        same = 1
        while same < len(pairs) and pairs[same].cell == pairs[0].cell:
            same += 1
        part, pairs = pairs[:same], pairs[same:]
        after, hours = part[-1].after, sum(pair.device_hours for pair in part)
        told = f"{hours:,.3g}" if hours else "paid"
        rows.append((part[0].cell.label, str(same), told, after.text(), _width_text(after)))
    return headings, tuple(rows)


def simulated_text(found: SimulatedRatios) -> str:
    """The middle 95 % of simulated ratios: "[0.65, 0.91]", with 0 and inf for open ends."""
    interval = found.interval()
    lower = "0" if interval.lower is None else f"{interval.lower:.2f}"
    return f"[{lower}, {'inf' if interval.upper is None else f'{interval.upper:.2f}'}]"


def _width_text(found: Precision) -> str:
    return "-" if found.reason else f"{found.half_width():.3f}"
