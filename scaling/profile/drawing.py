"""The figures of a profile as inline SVG: where a step goes, what lies in memory, what the roofline allows."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

from scaling.profile.machine import MachinePeaks
from scaling.profile.memory_timeline import CLASSES, MemoryTimeline
from scaling.profile.operators import Operator
from scaling.profile.phases import PHASES

# Okabe & Ito, "Color Universal Design" (2008): distinguishable with every common colour vision.
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#8C8C8C")
PHASE_COLOURS = dict(
    zip(PHASES, ("#56B4E9", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8C8C8C"), strict=True)
)
CLASS_COLOURS = dict(zip(CLASSES, _PALETTE, strict=False))
INK, SOFT, GRID = "#1c1f23", "#4a525b", "#dfe3e8"
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 860, 84, 20, 14, 60  # of a figure, in its own units
TICKS = 5  # on a linear axis, about
MARKER = 11  # radius of a numbered one
NARROWEST = 0.12  # share of a bar in which its name has room


def phase_figure(phases: Mapping[str, float], label: str) -> str:
    """One bar, as long as the step, cut into its phases; places are shares of whatever width it is shown at."""
    total, bar = sum(phases.values()), 44
    parts, begin = [], 0.0
    for name, seconds in phases.items():
        share, colour = seconds / total, PHASE_COLOURS[name]
        extent = f'x="{begin:.3%}" width="{share:.3%}"'
        parts.append(f'<rect {extent} y="0" height="{bar}" fill="{colour}"/>')
        if share > NARROWEST:
            place = f'x="{begin + share / 2:.3%}" y="27" text-anchor="middle" font-weight="600"'
            parts.append(f'<text {place} fill="{_on(colour)}">{name} {share:.0%}</text>')
        begin += share
    return f'<svg class="figure" role="img" aria-label="{html.escape(label)}" font-size="13">{"".join(parts)}</svg>'


def memory_figure(timeline: MemoryTimeline, label: str) -> str:
    """Bytes over the seconds of a step, the classes on top of each other."""
    height = 320
    moments = timeline.moments
    unit, unit_name = _byte_unit(timeline.peak.total)
    last = max(moments[-1].seconds, 1e-9)
    scale, scale_name = (1, "seconds") if last >= 1 else (1e3, "milliseconds")
    across = _Axis(0, last * scale, LEFT, WIDTH - RIGHT)
    up = _Axis(0, timeline.peak.total / unit * 1.05, height - BOTTOM, TOP)
    parts = _grid(across, up, height, f"{scale_name} since the step began", unit_name)
    below = [0.0] * len(moments)
    for name in CLASSES:
        above = [low + moment.bytes_by_class[name] / unit for low, moment in zip(below, moments, strict=True)]
        xs = [across.place(moment.seconds * scale) for moment in moments]
        upper = _steps(xs, [up.place(value) for value in above])
        lower = _steps(xs, [up.place(value) for value in below])
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *reversed(lower)])
        parts.append(f'<polygon points="{outline}" fill="{CLASS_COLOURS[name]}"/>')
        below = above
    return _figure(height, label, parts)


def roofline_figure(operators: Sequence[Operator], peaks: MachinePeaks, label: str) -> str:
    """Operators that multiply, by number, under the roof of the machine; both axes logarithmic."""
    height = 380
    known = [(number, each) for number, each in enumerate(operators, 1) if each.flops]
    roof, slope = peaks.flops_per_second / 1e9, peaks.bytes_per_second / 1e9
    across = _around([each.flops_per_byte for _, each in known] + [roof / slope], LEFT, WIDTH - RIGHT)
    up = _around([each.flops_per_second / 1e9 for _, each in known] + [roof], height - BOTTOM, TOP)
    parts = _grid(across, up, height, "FLOPs per byte moved", "GFLOP/s")
    start = max(across.low, up.low / slope)
    corners = [(start, start * slope), (roof / slope, roof), (across.high, roof)]
    line = " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in corners)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{INK}" stroke-width="2"/>')
    points = [(across.place(each.flops_per_byte), up.place(each.flops_per_second / 1e9)) for _, each in known]
    markers = apart(points, height - BOTTOM)
    for (x, y), (to_x, to_y) in zip(points, markers, strict=True):
        parts.append(
            f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{_PALETTE[0]}"/>'
        )
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_PALETTE[0]}"/>')
    for (number, _), (x, y) in zip(known, markers, strict=True):
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{MARKER}" fill="{_PALETTE[0]}" stroke="#ffffff"/>'
        )
        parts.append(_text(x, y + 4, str(number), fill="#ffffff", weight=600))
    return _figure(height, label, parts)


def apart(points: Sequence[tuple[float, float]], bottom: float) -> list[tuple[float, float]]:
    """Where to put the numbered marker of each point: on it, or the nearest place on rings around it that is free."""
    taken: list[tuple[float, float]] = []
    for x, y in points:
        rings = [(0.0, 0.0)] + [
            (2.2 * MARKER * ring, math.tau * turn / 16) for ring in range(1, 9) for turn in range(16)
        ]
        places = [(x + far * math.cos(angle), y + far * math.sin(angle)) for far, angle in rings]
        inside = [
            (to_x, to_y)
            for to_x, to_y in places
            if LEFT + MARKER <= to_x <= WIDTH - RIGHT - MARKER and TOP + MARKER <= to_y <= bottom - MARKER
        ]
        free = (place for place in inside if all(math.dist(place, other) > 2 * MARKER for other in taken))
        taken.append(next(free, (x, y)))
    return taken


class _Axis:
    """Numbers to places, in proportion."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.high, self.begin, self.end = low, high, begin, end

    def place(self, value: float) -> float:
        return self.begin + (self.end - self.begin) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers and what to write beside them."""
        rough = (self.high - self.low) / TICKS
        decade = 10.0 ** math.floor(math.log10(rough))
        step = next(size * decade for size in (1, 2, 5, 10) if size * decade >= rough)
        return [(step * index, f"{step * index:g}") for index in range(int(self.high / step) + 1)]


class _LogAxis(_Axis):
    """Numbers to places, by their logarithms."""

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + (self.end - self.begin) * share

    def ticks(self) -> list[tuple[float, str]]:
        """Those of 1, 2 and 5 times powers of ten that lie on it."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        return [(value, _written(value)) for value in values if self.low <= value <= self.high]


def _around(values: Sequence[float], begin: float, end: float) -> _LogAxis:
    """An axis around the values, with room for a marker on either side."""
    return _LogAxis(min(values) / 2, max(values) * 2, begin, end)


def _written(value: float) -> str:
    return f"{value:,.0f}" if 1 <= value < 1e6 else f"{value:.2g}"


def _grid(across: _Axis, up: _Axis, height: int, x_label: str, y_label: str) -> list[str]:
    parts = []
    for value, text in up.ticks():
        y = up.place(value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 8, y + 4, text, anchor="end"))
    for value, text in across.ticks():
        x = across.place(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}" stroke="{GRID}"/>')
        parts.append(_text(x, height - BOTTOM + 24, text))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, height - 8, x_label))
    middle = (TOP + height - BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 16 {middle})">{_text(16, middle + 4, y_label)}</g>')
    return parts


def _byte_unit(largest: int) -> tuple[float, str]:
    return (1e9, "GB") if largest >= 1e9 else (1e6, "MB")


def _steps(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of a line that stays where it is until the next moment."""
    corners = []
    for index, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if index:
            corners.append((x, ys[index - 1]))
        corners.append((x, y))
    return corners


def _text(
    x: float, y: float, text: str, *, anchor: str = "middle", fill: str = SOFT, weight: int = 400
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}"'
    return f"<text {place}>{html.escape(text)}</text>"


def _on(fill: str) -> str:
    """The colour of text that can be read on a fill: white on the dark blue alone."""
    return "#ffffff" if fill == _PALETTE[0] else INK


def _figure(height: int, label: str, parts: Sequence[str]) -> str:
    head = f'<svg class="figure" role="img" aria-label="{html.escape(label)}" viewBox="0 0 {WIDTH} {height}"'
    return f'{head} font-size="13">{"".join(parts)}</svg>'
