"""Sweeps with a known truth for the tests of the report, and their pages."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from page_reader import Element
from simulated_sweep import CLASSES, SAMPLES, TOWERS, SweepFolder, science

from analysis.report import write_report
from analysis.report.findings import SweepFindings
from analysis.study.study import StudyOptions

FEW_REFITS = StudyOptions(num_refits=120)
WRITTEN = datetime.date(2026, 11, 21)
QUESTION = "Does one objective keep its lead?"


def true_error(objective: str, tower: str, samples_seen: int) -> float:
    """(0.1 + guessing u) / (1 + u), u falling with tower and samples; CLIP needs twice the samples of SuperClass."""
    samples = samples_seen if objective == "superclass" else samples_seen / 2
    u = 0.35 * (TOWERS[tower] / 120e6) ** -0.4 + 0.55 * (samples / 16_384) ** -0.5
    return float((0.1 + (1 - 1 / CLASSES) * u) / (1 + u))


def add_runs(folder: SweepFolder, objectives: tuple[str, ...] = ("superclass", "clip")) -> None:
    """12 cells of each objective, finished, with half a percent of noise."""
    rng = np.random.default_rng(5)
    for objective in objectives:
        for tower in TOWERS:
            for samples in (*SAMPLES, 65_536):
                error = true_error(objective, tower, samples) * float(np.exp(0.005 * rng.standard_normal()))
                folder.add(science(objective, tower, samples), "done", error=error)


@dataclass
class Finished:
    """A sweep of 24 finished runs, what was found and the page that tells it."""

    folder: SweepFolder
    findings: SweepFindings
    path: Path
    page: Element


def report_of(folder: SweepFolder, output: Path, **options: object) -> Path:
    """The page of a folder, with few refits and without figure files."""
    return write_report(
        folder.path,
        output / "report.html",
        options=FEW_REFITS,
        save_figures=False,
        written=WRITTEN,
        **options,  # type: ignore[arg-type]
    )
