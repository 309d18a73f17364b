"""The sections of one sweep, in the order of a page: answer, figures, laws, comparison, trust, runs, provenance."""

from __future__ import annotations

from analysis.report import pictures
from analysis.report.answer import answer_section
from analysis.report.blocks import Block, Paragraph, Points, Section
from analysis.report.compared import comparison_blocks
from analysis.report.context import environment_table, varied_blocks
from analysis.report.efficiency import efficiency_table
from analysis.report.findings import SweepFindings
from analysis.report.laws import candidate_table, choices, law_table, without_law
from analysis.report.parameters import parameter_table, references
from analysis.report.reproduce import provenance_table, reproduce_blocks
from analysis.report.runs import cost_table, failure_table, score_table, warnings_of
from analysis.report.trust import holdout_blocks, influence_blocks, ledger_table
from analysis.study.metrics import LOSS
from analysis.study.study import MetricStudy


def sweep_sections(findings: SweepFindings, written: str, prefix: str = "") -> tuple[Section, ...]:
    """The sections of a sweep; `prefix` keeps their identifiers apart from those of other sweeps."""
    return (
        answer_section(findings, f"{prefix}answer"),
        _figures(findings, prefix),
        _laws(findings, prefix),
        _parameters(findings, prefix),
        _comparison(findings, prefix),
        _trust(findings, prefix),
        _runs(findings, prefix),
        _section(f"{prefix}varied", "What varied", *varied_blocks(findings.varied)),
        _section(f"{prefix}environment", "Environment", environment_table(findings.table)),
        _section(
            f"{prefix}reproduce",
            "Reproduce this",
            *reproduce_blocks(findings),
            provenance_table(findings, written),
        ),
    )


def _figures(findings: SweepFindings, prefix: str) -> Section:
    others = [*pictures.other_metrics(findings), *pictures.other_scores(findings)]
    sections = [_section(f"{prefix}other-metrics", "Other metrics", *others)] if others else []
    return Section(
        identifier=f"{prefix}figures",
        title="What was measured, and the laws through it",
        blocks=tuple(pictures.main_figures(findings)) or (Paragraph(text="No run was started yet."),),
        sections=tuple(sections),
    )


def _laws(findings: SweepFindings, prefix: str) -> Section:
    shown = _shown_studies(findings)
    blocks: list[Block] = [law_table(shown), *without_law(shown), candidate_table(shown), *choices(shown)]
    return Section(
        identifier=f"{prefix}laws",
        title="Fitted laws and the evidence for them",
        blocks=(*blocks, *pictures.law_figures(findings), *pictures.isoflop_figures(findings)),
    )


def _shown_studies(findings: SweepFindings) -> list[MetricStudy]:
    """The studies whose laws are told in full: that of the answer and that of the held-out loss."""
    return [study for metric, study in findings.studies.items() if metric in (findings.main.metric, LOSS)]


def _parameters(findings: SweepFindings, prefix: str) -> Section:
    return _section(
        f"{prefix}parameters",
        "Parameters and their intervals",
        parameter_table(findings),
        references({study.metric: study for study in _shown_studies(findings)}),
        *pictures.profile_figures(findings),
    )


def _comparison(findings: SweepFindings, prefix: str) -> Section:
    blocks = comparison_blocks(findings)
    return _section(f"{prefix}comparison", "Comparison at equal compute", *blocks)


def _trust(findings: SweepFindings, prefix: str) -> Section:
    return Section(
        identifier=f"{prefix}trust",
        title="What the conclusion hangs on",
        sections=(
            _section(f"{prefix}ledger", "Which runs entered, and by which rule", ledger_table(findings)),
            _section(
                f"{prefix}influence",
                "Single runs and cells",
                *influence_blocks(findings),
                *pictures.influence_figures(findings),
            ),
            _section(
                f"{prefix}holdout",
                "Holdout",
                *holdout_blocks(findings.holdout),
                *pictures.holdout_figures(findings),
            ),
        ),
    )


def _runs(findings: SweepFindings, prefix: str) -> Section:
    table = findings.table
    warnings = warnings_of(table)
    told = (
        [Points(lead="Warnings of the records.", items=tuple(warnings), is_warning=True)] if warnings else []
    )
    used = efficiency_table(table)
    failures = failure_table(table)
    curves: list[Block] = [*pictures.curve_figures(findings)]
    _, damaged = pictures.training_curves(findings)
    if damaged:
        curves.append(Points(lead="Damaged files.", items=damaged, is_warning=True))
    sections = [
        _section(
            f"{prefix}costs", "Planned and measured", cost_table(table), *pictures.cost_figures(findings)
        ),
        _section(
            f"{prefix}failures",
            "Failures",
            *([failures] if failures.rows else [Paragraph(text="No run failed.")]),
            *told,
        ),
        *([_section(f"{prefix}efficiency", "Use of devices and time", used)] if used else []),
        _section(f"{prefix}scores", "Scores", score_table(table, findings.holdout.sealed)),
        *([_section(f"{prefix}curves", "Training curves", *curves)] if curves else []),
    ]
    return Section(identifier=f"{prefix}runs", title="The runs", sections=tuple(sections))


def _section(identifier: str, title: str, *blocks: Block) -> Section:
    return Section(identifier=identifier, title=title, blocks=blocks)
