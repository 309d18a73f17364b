"""`scaling fit`, `compare` and `design`: what the runs of a sweep, or results of others, say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scaling.commands.arguments import Runs, wide_console
from scaling.commands.report_tables import print_rows, print_table, print_upright
from scaling.commands.studied import (
    AtCompute,
    Between,
    Chance,
    MappingName,
    MetricName,
    Refits,
    Sources,
    Unseal,
    folders_of,
    open_holdouts,
    options_of,
)

if TYPE_CHECKING:
    from analysis.study.study import MetricStudy, StudyOptions

UNKNOWN = float("nan")


def fit(
    sources: Sources,
    metric: MetricName = None,
    mapping: MappingName = None,
    chance: Chance = UNKNOWN,
    refits: Refits = 1000,
    unseal: Unseal = False,
    runs: Runs = Path("runs"),
) -> None:
    """Print the law of every objective with its evidence, and every form that competed."""
    from analysis.report.laws import candidate_table, law_table

    if unseal:
        _open(sources, runs, mapping)
    for studies in _all_studies(sources, metric, mapping, chance, options_of(refits, None), runs):
        if not any(study.sides for study in studies.values()):
            wide_console().print(f"{', '.join(studies)}: no run to fit a law to.", highlight=False)
            continue
        for table in (law_table(studies.values()), candidate_table(studies.values())):
            print_table(table)
        for name, study in studies.items():
            for side in study.sides.values():
                note = side.reason or (side.selected.reason if side.selected else "")
                for told in (note, *side.doubts):
                    wide_console().print(f"{name}, {side.objective}: {told}", highlight=False, markup=False)
            _print_left_out(name, study)


def compare(
    sources: Sources,
    metric: MetricName = None,
    mapping: MappingName = None,
    chance: Chance = UNKNOWN,
    between: Between = None,
    at: AtCompute = None,
    refits: Refits = 1000,
    unseal: Unseal = False,
    runs: Runs = Path("runs"),
) -> None:
    """Print what one objective needs of the other's compute, with intervals, nested tests and notes."""
    from analysis.report.compared import nested_table, ratio_table

    if unseal:
        _open(sources, runs, mapping)
    console = wide_console()
    for studies in _all_studies(sources, metric, mapping, chance, options_of(refits, at, between), runs):
        for name, study in studies.items():
            if study.comparison is None:
                console.print(f"{name}: no two objectives have finished runs to compare.", highlight=False)
                continue
            console.print(study.comparison.sentence(), highlight=False, markup=False)
            if study.comparison.ratio is not None and len(study.comparison.compute_M):
                print_upright(ratio_table(study.comparison))
            if study.comparison.nested:
                print_upright(nested_table(study.comparison))
            for note in study.comparison.notes:
                console.print(f"- {note}", highlight=False, markup=False)
            _print_left_out(name, study)
        _print_adjusted(studies)


def design(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SWEEP]", help="sweep file with finished runs; none: shapes of a first study"
        ),
    ] = None,
    budget: Annotated[str, typer.Option(help='"500 device-hours"')] = "500 device-hours",
    metric: MetricName = None,
    between: Between = None,
    at: AtCompute = None,
    runs: Runs = Path("runs"),
) -> None:
    """Print which pairs of runs narrow the ratio most per device-hour; without a sweep, what shapes of study tell."""
    console = wide_console()
    if source is None:
        _print_shapes(console)
        return
    from analysis.design.tables import proposal_table
    from analysis.study.next_runs import next_runs
    from scaling.planning.budget import parse_budget

    wanted = parse_budget(budget)
    if wanted.unit != "device-hours":
        raise ValueError(
            f"--budget {budget!r}: a design is priced in device-hours; divide the money by your price."
        )
    (studies,) = _all_studies([source], metric, None, UNKNOWN, options_of(1000, at, between), runs)
    proposal = next_runs(next(iter(studies.values())), wanted.amount, at)
    console.print(proposal.sentence(), highlight=False, markup=False)
    print_rows("What to train next", *proposal_table(proposal))


def _open(sources: list[Path], runs: Path, mapping: str | None) -> None:
    if mapping is not None:
        raise ValueError("--unseal: results of others have no holdout; leave it out, or --mapping.")
    open_holdouts(folders_of(sources, runs))


def _print_left_out(metric: str, study: MetricStudy) -> None:
    """A line per rule that left out runs."""
    for rule in study.selection.rules:
        if rule.run_ids:
            told = f"{metric}: {len(rule.run_ids)} runs left out under {rule.name!r} ({rule.description})"
            wide_console().print(told, highlight=False, markup=False)


def _print_adjusted(studies: Mapping[str, MetricStudy]) -> None:
    """p-values of equal errors where several metrics were asked the same question, adjusted for that."""
    from analysis.comparison.holm import holm

    found = {name: study.comparison.p_value for name, study in studies.items() if study.comparison}
    p_values = {name: value for name, value in found.items() if value is not None}
    if len(p_values) > 1:
        rows = [
            (name, f"{p_values[name]:.3g}", f"{adjusted:.3g}") for name, adjusted in holm(p_values).items()
        ]
        print_rows("Equal errors at the compute of each sentence", ("metric", "p", "p (Holm)"), rows)


def _all_studies(
    sources: list[Path],
    metric: str | None,
    mapping: str | None,
    chance: float,
    options: StudyOptions,
    runs: Path,
) -> list[Mapping[str, MetricStudy]]:
    """The studies of each source by metric: of a sweep's runs, or of results of others."""
    if mapping is not None:
        return [_imported(path, mapping, metric, chance, options) for path in sources]
    from analysis.study.sweep import study_sweep

    return [study_sweep(folder, metric, options) for folder in folders_of(sources, runs)]


def _imported(
    path: Path, mapping: str, metric: str | None, chance: float, options: StudyOptions
) -> Mapping[str, MetricStudy]:
    from analysis.imports.results import import_results
    from analysis.study.foreign import study_results

    results = import_results(path, mapping)
    known = sorted(set(results["metric"]))
    if metric is None and len(known) > 1:
        raise ValueError(f"{path}: has {len(known)} metrics; choose one with --metric: {', '.join(known)}.")
    name = metric or known[0]
    return {name: study_results(results, name, options, chance=chance)}


def _print_shapes(console: Console) -> None:
    from analysis.design.assumed import COMPUTE, assumed_beliefs
    from analysis.design.shapes import expected_precision
    from analysis.design.tables import default_reason, design_table

    expected = expected_precision(assumed_beliefs(), [COMPUTE])
    print_rows("What a study of a given shape is expected to tell", *design_table(expected, [COMPUTE]))
    console.print(default_reason(expected, COMPUTE), highlight=False, markup=False)
