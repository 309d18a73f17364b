"""Arguments of the commands that study sweeps, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from analysis.study.study import StudyOptions

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

TABLES = (".csv", ".gz", ".parquet", ".jsonl")  # files that hold results, never a sweep


def folders_of(sources: list[Path], runs: Path) -> list[Path]:
    """The run folders of sweep files; ValueError for a table of results, which needs a mapping."""
    from scaling.spec import sweep_name

    tables = [source for source in sources if source.suffix in TABLES]
    if tables:
        raise ValueError(
            f"{tables[0]}: is no sweep file. Results of others are read by `scaling fit` and `scaling compare` with "
            "--mapping NAME or FILE."
        )
    return [runs / sweep_name(source) for source in sources]


def open_holdouts(folders: list[Path]) -> None:
    """Open the sweeps' holdouts, on record and on the terminal; ValueError where no plan names one."""
    from analysis.load import load_sweep, read_plan
    from analysis.selection.holdout import unseal

    tables = {folder: load_sweep(folder) for folder in folders}
    holdouts = {folder: holdout for folder in folders if (holdout := read_plan(folder).holdout)}
    if not holdouts:
        raise ValueError(
            f"--unseal: no plan in {', '.join(map(str, folders))} names a holdout; leave --unseal out, or name cells "
            "under `holdout` in the sweep file before it is planned."
        )
    for folder, holdout in holdouts.items():
        table = tables[folder]
        opening = unseal(folder, holdout, list(table.loc[table["status"] == "done", "run_id"]))
        Console().print(f"opened by {opening.opened_by}: {', '.join(opening.run_ids)}", soft_wrap=True)


def options_of(refits: int, at: float | None, between: str | None = None) -> StudyOptions:
    """The options of a study; ValueError where `between` does not name two objectives."""
    from analysis.study.study import StudyOptions

    names = tuple(part.strip() for part in between.split(",")) if between else None
    if names is not None and len(names) != 2:
        raise ValueError(f"--between {between!r}: give two objectives with a comma, such as superclass,clip.")
    return StudyOptions(num_refits=refits, reference_compute=at, between=names)
