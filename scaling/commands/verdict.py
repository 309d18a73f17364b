"""`scaling fit`, `compare`, `design` and `report`: what the runs of a sweep, or results of others, say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scaling.commands.arguments import Runs, wide_console
from scaling.commands.report_tables import print_rows, print_table, print_upright

if TYPE_CHECKING:
    from analysis.study.study import MetricStudy, StudyOptions

Sources = Annotated[
    list[Path],
    typer.Argument(metavar="SWEEP...", help="sweep files; or tables of results, with --mapping"),
]
MetricName = Annotated[
    str | None, typer.Option(help="default: linear_probe.top1, else the first one recorded")
]
Refits = Annotated[int, typer.Option(min=100, help="refits of the wild cluster bootstrap")]
MappingName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE", help="how to read results of others: laion_openclip, open_clip, a YAML file"
    ),
]
Chance = Annotated[float, typer.Option(help="with --mapping: the score of guessing")]
Between = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="the objectives to compare; default: superclass,clip or the first two"),
]
Unseal = Annotated[
    bool, typer.Option("--unseal", help="open the holdout of the sweeps, on record, and fit to it")
]
AtCompute = Annotated[
    float | None, typer.Option(metavar="FLOPS", help="training FLOPs of the headline ratio")
]

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

    _open_holdouts(sources, runs, unseal, mapping)
    for studies in _all_studies(sources, metric, mapping, chance, _options(refits, None), runs):
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

    _open_holdouts(sources, runs, unseal, mapping)
    console = wide_console()
    for studies in _all_studies(sources, metric, mapping, chance, _options(refits, at, between), runs):
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
    (studies,) = _all_studies([source], metric, None, UNKNOWN, _options(1000, at), runs)
    proposal = next_runs(next(iter(studies.values())), wanted.amount, at)
    console.print(proposal.sentence(), highlight=False, markup=False)
    print_rows("What to train next", *proposal_table(proposal))


def report(
    sources: Sources,
    runs: Runs = Path("runs"),
    output: Annotated[Path | None, typer.Option(help="default: RUNS/<sweep>/report.html")] = None,
    metric: MetricName = None,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="save every figure as files beside the page")
    ] = True,
    unseal: Unseal = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="write hparams and custom scalars of the sweep as well")
    ] = False,
) -> None:
    """Write what the runs say as one self-contained HTML page, with every figure as files beside it."""
    from analysis.load import load_sweep, read_plan
    from analysis.report.page import write_report
    from analysis.selection.holdout import blinded, sealed_runs
    from analysis.tensorboard import write_tensorboard

    _open_holdouts(sources, runs, unseal)
    folders = _folders(sources, runs)
    for folder in folders:
        if tensorboard:
            sealed = sealed_runs(folder, read_plan(folder).holdout)
            write_tensorboard(folder, blinded(load_sweep(folder), sealed))
            Console().print(f"tensorboard --logdir {folder}", soft_wrap=True)
    page = output or folders[0] / "report.html"
    written = write_report(folders, page, metric=metric, save_figures=figures)
    Console().print(f"report: {written}", soft_wrap=True)


def _open_holdouts(sources: list[Path], runs: Path, unseal: bool, mapping: str | None = None) -> None:
    """Open the holdout of every sweep, on record and on the terminal, where that is asked for."""
    from analysis.load import load_sweep, read_plan
    from analysis.selection.holdout import unseal as open_holdout

    if unseal and mapping is not None:
        raise ValueError("--unseal: results of others have no holdout; leave it out, or --mapping.")
    for folder in _folders(sources, runs) if unseal else ():
        holdout = read_plan(folder).holdout
        if holdout:
            table = load_sweep(folder)
            opening = open_holdout(folder, holdout, list(table.loc[table["status"] == "done", "run_id"]))
            Console().print(f"opened by {opening.opened_by}: {', '.join(opening.run_ids)}", soft_wrap=True)


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
        _print_rows("Equal errors at the compute of each sentence", ("metric", "p", "p (Holm)"), rows)


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

    return [study_sweep(folder, metric, options) for folder in _folders(sources, runs)]


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


def _folders(sources: list[Path], runs: Path) -> list[Path]:
    """The run folders of sweep files."""
    from scaling.spec import sweep_name

    return [runs / sweep_name(source) for source in sources]


def _options(refits: int, at: float | None, between: str | None = None) -> StudyOptions:
    from analysis.study.study import StudyOptions

    names = tuple(part.strip() for part in between.split(",")) if between else None
    if names is not None and len(names) != 2:
        raise ValueError(f"--between {between!r}: give two objectives with a comma, such as superclass,clip.")
    return StudyOptions(num_refits=refits, reference_compute=at, between=names)


def _print_shapes(console: Console) -> None:
    from analysis.design.assumed import COMPUTE, assumed_beliefs
    from analysis.design.shapes import expected_precision
    from analysis.design.tables import default_reason, design_table

    expected = expected_precision(assumed_beliefs(), [COMPUTE])
    print_rows("What a study of a given shape is expected to tell", *design_table(expected, [COMPUTE]))
    console.print(default_reason(expected, COMPUTE), highlight=False, markup=False)
