"""A page from sweep folders: load, study, write, with every figure as files beside the page."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from pathlib import Path

from analysis.figures.files import save_drawing
from analysis.load import check_folder
from analysis.report.answer import answer
from analysis.report.blocks import Section, Table, text_column, words
from analysis.report.cite import cite_blocks
from analysis.report.findings import SweepFindings, find
from analysis.report.render import drawings, render_page
from analysis.report.runs import counts_of
from analysis.report.sections import sweep_sections
from analysis.study.study import StudyOptions
from scaling.records import WriteError, write_atomically


def write_report(
    sweeps: Path | Sequence[Path],
    output: Path,
    *,
    metric: str | None = None,
    options: StudyOptions = StudyOptions(),
    save_figures: bool = True,
    written: datetime.date | None = None,
) -> Path:
    """The path of the written page: what the runs of one or several sweep folders, runs/<sweep>, say, finished or not.

    Sweeps are not pooled: each has its own laws.  `metric` is that of the answer (None: linear_probe.top1, or the first
    error rate or loss that was recorded).  Runs of a holdout stay sealed until their opening is on record.  Figures go
    to figures/ beside the page (unless `save_figures` is False), those of several sweeps to a folder each.  `written`
    is the date on the page, today unless given.  ValueError for a missing or repeated sweep folder or an output that is
    not .html, WriteError where nothing can be written.
    """
    folders = [sweeps] if isinstance(sweeps, Path) else list(sweeps)
    _check(folders, output)
    _make_folder(output.parent)
    all_findings = [find(folder, metric, options) for folder in folders]
    date = (written or datetime.datetime.now(datetime.UTC).date()).isoformat()
    page, by_sweep = compose(all_findings, date)
    if save_figures:
        for sections, folder in zip(by_sweep, _figure_folders(all_findings, output), strict=True):
            for drawing in drawings(sections):
                save_drawing(drawing, folder)
    write_atomically(output, page)
    return output


def compose(all_findings: Sequence[SweepFindings], written: str) -> tuple[str, list[tuple[Section, ...]]]:
    """The page of one or several sweeps, and the sections of each; `written` is the date it states."""
    by_sweep = [
        sweep_sections(findings, written, prefix)
        for findings, prefix in zip(all_findings, _prefixes(all_findings), strict=True)
    ]
    return _page(all_findings, by_sweep), by_sweep


def _check(folders: Sequence[Path], output: Path) -> None:
    if output.suffix != ".html":
        raise ValueError(f"{output}: the report is an HTML page; give a path that ends in .html.")
    if output.is_dir():
        raise ValueError(f"{output}: is a folder; give the path of a file that ends in .html.")
    if not folders:
        raise ValueError("no sweep folder is given; name at least one, such as runs/quickstart.")
    for folder in folders:
        check_folder(folder)
    resolved = [folder.resolve() for folder in folders]
    repeated = [str(folder) for folder, real in zip(folders, resolved) if resolved.count(real) > 1]
    if repeated:
        raise ValueError(f"{repeated[0]}: the same sweep folder is given twice; name every sweep once.")


def _page(all_findings: Sequence[SweepFindings], by_sweep: Sequence[tuple[Section, ...]]) -> str:
    cite = Section(identifier="cite", title="How to cite", blocks=tuple(cite_blocks()))
    if len(all_findings) == 1:
        (findings,) = all_findings
        return render_page(
            [*by_sweep[0], cite],
            title=findings.name,
            kicker="Scaling report",
            question=findings.plan.question,
            facts=[counts_of(findings.table, findings.num_not_started)],
        )
    parts = [
        Section(identifier=prefix.rstrip("-"), title=findings.name, sections=sections)
        for findings, sections, prefix in zip(all_findings, by_sweep, _prefixes(all_findings), strict=True)
    ]
    return render_page(
        [_overview(all_findings), *parts, cite],
        title=" and ".join(findings.name for findings in all_findings),
        kicker=f"Scaling report of {len(all_findings)} sweeps",
        question="",
        facts=["Sweeps are not pooled: each has its own runs, laws and answer."],
    )


def _overview(all_findings: Sequence[SweepFindings]) -> Section:
    names = ("sweep", "answer", "question", "runs")  # on a phone the first two are in view
    rows = [tuple(map(words, _overview_row(one))) for one in all_findings]
    table = Table(
        caption="Question and answer of every sweep", columns=tuple(map(text_column, names)), rows=tuple(rows)
    )
    return Section(identifier="answers", title="The answers", blocks=(table,))


def _overview_row(findings: SweepFindings) -> tuple[str, ...]:
    counts = counts_of(findings.table, findings.num_not_started)
    return findings.name, answer(findings), findings.plan.question or "not recorded", counts


def _prefixes(all_findings: Sequence[SweepFindings]) -> list[str]:
    """What identifiers start with: nothing for one sweep, "sweep-2-pairs-" for the second of several."""
    if len(all_findings) == 1:
        return [""]
    return [
        f"sweep-{rank}-{re.sub('[^A-Za-z0-9]+', '-', one.name)}-"
        for rank, one in enumerate(all_findings, start=1)
    ]


def _figure_folders(all_findings: Sequence[SweepFindings], output: Path) -> list[Path]:
    figures = output.parent / "figures"
    if len(all_findings) == 1:
        return [figures]
    return [figures / prefix.rstrip("-") for prefix in _prefixes(all_findings)]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be created ({os.strerror(error.errno or 0)}); choose another folder."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WriteError(f"{folder}: cannot be written to (Permission denied); choose another folder.")
