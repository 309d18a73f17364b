"""A profile as one self-contained HTML page: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from scaling.profile.comparison import BASELINE, Compared
from scaling.profile.drawing import CLASS_COLOURS, PHASE_COLOURS, memory_figure, phase_figure, roofline_figure
from scaling.profile.machine import MachinePeaks
from scaling.profile.module_tree import ModuleRow
from scaling.profile.operators import Operator
from scaling.profile.profile_report import ProfileReport
from scaling.profile.step_profile import StepProfile
from scaling.profile.training_batches import origin_of

TEMPLATES = Path(__file__).parent / "templates"
NBSP = "\u00a0"  # between number and unit
SHOWN_MULTIPLYING, SHOWN_OTHERS = 10, 6  # operators, of those that took longest


def page_of(report: ProfileReport) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("profile.html").render(
        sweep=report.sweep,
        question=report.question,
        peaks=report.peaks,
        peak_flops=f"{report.peaks.flops_per_second / 1e9:,.0f}",
        peak_bytes=f"{report.peaks.bytes_per_second / 1e9:,.1f}",
        compared=[_compared_cells(row) for row in report.compared],
        sentences=[row.sentence for row in report.compared if row.objective != BASELINE],
        overview=[_overview_cells(profile) for profile in report.profiles],
        points=[_point(profile, report) for profile in report.profiles],
        phase_colours=PHASE_COLOURS,
        class_colours=CLASS_COLOURS,
    )


def size(number: float) -> str:
    """Bytes as a reader wants them: "1.23 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{significant(number / unit)}{NBSP}{name}"
    return f"{number:.0f}{NBSP}B"


def duration(seconds: float) -> str:
    """Seconds as a reader wants them: "12.3 ms"."""
    return f"{significant(seconds)}{NBSP}s" if seconds >= 1 else f"{significant(1e3 * seconds)}{NBSP}ms"


def significant(number: float) -> str:
    """Three digits that say something, without an exponent: "0.0357", "4.20", "1,230"."""
    if number >= 1000 or number == 0:
        return f"{number:,.0f}"
    digits_before_point = math.floor(math.log10(float(f"{number:.3g}"))) + 1
    return f"{number:,.{max(0, 3 - digits_before_point)}f}"


def _compared_cells(row: Compared) -> list[str]:
    return [
        ", ".join(filter(None, (row.image_tower, row.place))),
        row.objective,
        f"{row.micro_batch:,}",
        size(row.peak_bytes),
        f"{row.peak_share:.0%}",
        size(row.activation_bytes_per_sample),
        f"{row.activation_share:.0%}",
        duration(row.seconds_per_sample),
        "disturbed" if row.is_disturbed else f"{row.seconds_share:.0%}",
        significant(row.model_flops_per_sample / 1e9),
        f"{row.model_flops_share:.0%}",
    ]


def _overview_cells(profile: StepProfile) -> list[str]:
    science, placement = profile.reduced.point.science, profile.reduced.point.placement
    return [
        science.objective,
        science.image_tower,
        f"{placement.micro_batch:,}",
        f"{placement.engine} {placement.zero_stage}",
        placement.activation_checkpointing,
        f"{sum(profile.parameters.values()) / 1e6:,.1f} M",
        duration(profile.seconds_per_step) + (" (disturbed)" if profile.is_disturbed else ""),
        significant(profile.samples_per_second),
        significant(profile.model_flops_per_sample / 1e9),
        significant(profile.hardware_flops_per_sample / 1e9),
        f"{profile.model_flops_utilisation:.1%}",
        f"{profile.hardware_flops_utilisation:.1%}",
        size(profile.memory.peak.total),
        size(profile.predicted_memory_bytes),
    ]


def _point(profile: StepProfile, report: ProfileReport) -> dict[str, Any]:
    point = profile.reduced.point
    operators = main_operators(profile.operators)
    step = sum(operator.seconds for operator in profile.operators)
    return {
        "run_id": point.run_id,
        "title": f"{point.science.objective}, {point.science.image_tower}, {point.science.global_batch:,} samples",
        "changes": profile.reduced.changes,
        "device": profile.device,
        "steps": profile.steps,
        "origin": origin_of(point),
        "phases": _shares(profile.phases, duration),
        "phase_figure": Markup(
            phase_figure(profile.phases, _told("Where a step goes", profile.phases, duration))
        ),
        "memory": _shares(profile.memory.peak.bytes_by_class, size),
        "memory_peak": size(profile.memory.peak.total),
        "memory_figure": Markup(memory_figure(profile.memory, _memory_label(profile))),
        "roofline": Markup(
            roofline_figure(operators, report.peaks, _roofline_label(operators, report.peaks))
        ),
        "operators": [
            _operator_cells(number, operator, step, report.peaks)
            for number, operator in enumerate(operators, 1)
        ],
        "modules": [_module_cells(row, point.science.global_batch) for row in profile.modules],
        "files": report.files[point.run_id],
    }


def main_operators(operators: Sequence[Operator]) -> list[Operator]:
    """Of those that multiply and of the others the longest, together in their order: a roofline needs both."""
    multiplying = [operator for operator in operators if operator.flops][:SHOWN_MULTIPLYING]
    others = [operator for operator in operators if not operator.flops][:SHOWN_OTHERS]
    return sorted([*multiplying, *others], key=lambda operator: -operator.seconds)


def _shares(numbers: dict[str, Any], write: Any) -> list[tuple[str, str, str]]:
    total = sum(numbers.values()) or 1
    return [(name, write(number), f"{number / total:.0%}") for name, number in numbers.items()]


def _told(what: str, numbers: dict[str, Any], write: Any) -> str:
    return f"{what}: " + ", ".join(f"{name} {write(number)}" for name, number in numbers.items())


def _memory_label(profile: StepProfile) -> str:
    return _told("Memory in the course of a step; at its peak", profile.memory.peak.bytes_by_class, size)


def _roofline_label(operators: list[Operator], peaks: MachinePeaks) -> str:
    best = max(
        (each for each in operators if each.flops), key=lambda each: each.flops_per_second, default=None
    )
    reached = (
        f"; the fastest of them is {best.name} at {best.flops_per_second / 1e9:,.0f} GFLOP/s" if best else ""
    )
    return f"Roofline of the main operators under {peaks.flops_per_second / 1e9:,.0f} GFLOP/s{reached}"


def _operator_cells(number: int, operator: Operator, step: float, peaks: MachinePeaks) -> list[str]:
    return [
        str(number),
        operator.name.replace("_", "_\u200b"),
        operator.shapes,
        f"{operator.calls:,}",
        duration(operator.seconds),
        f"{operator.seconds / step:.1%}",
        significant(operator.flops_per_second / 1e9) if operator.flops else "",
        significant(operator.bytes_per_second / 1e9),
        significant(operator.flops_per_byte) if operator.flops else "",
        f"{operator.share_of_roof(peaks):.0%}",
    ]


def _module_cells(row: ModuleRow, samples: int) -> dict[str, Any]:
    return {
        "depth": row.depth,
        "name": row.name.rpartition(".")[2] or "objective",
        "path": row.name or "objective",
        "cells": [
            row.kind,
            f"{row.parameters:,}",
            significant(row.forward_flops / samples / 1e9),
            size(row.activation_bytes / samples),
            duration(row.forward_seconds),
        ],
    }
