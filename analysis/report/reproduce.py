"""The commands that give these runs and this page again, and what the page was made from."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

from analysis.figures.provenance import code_version
from analysis.load import PLAN_FILE
from analysis.report.blocks import Block, Commands, Paragraph, Table, text_column, words
from analysis.report.findings import SweepFindings
from analysis.study.study import StudyOptions


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a sweep was planned, as its plan.json records it."""

    sweep_file: str | None = None  # None: not recorded
    settings: tuple[str, ...] = ()  # KEY=VALUE changes to the sweep file
    accelerator: str | None = None
    num_devices: int | None = None
    contract_hash: str = ""


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a sweep folder; empty without a plan."""
    path = folder / PLAN_FILE
    plan: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return Recipe(
        sweep_file=plan.get("sweep_file"),
        settings=tuple(plan.get("settings", ())),
        accelerator=plan.get("accelerator"),
        num_devices=plan.get("num_devices"),
        contract_hash=plan.get("contract_hash", ""),
    )


def reproduce_blocks(findings: SweepFindings) -> list[Block]:
    """Commands to plan, train and report the sweep, with what they take for granted."""
    recipe = recipe_of(findings.folder)
    blocks: list[Block] = [
        Commands(
            lines=tuple(commands(findings, recipe)),
            label=f"Commands that reproduce the sweep {findings.name}",
        )
    ]
    if recipe.sweep_file is None:
        text = "The plan does not record its sweep file; the one of the sweep's name is assumed, without --set changes."
        blocks.append(Paragraph(text=text, is_note=True))
    return blocks


def commands(findings: SweepFindings, recipe: Recipe) -> list[str]:
    """`scaling plan`, `deepspeed launch` and `scaling report` as they were, or would be, given."""
    runs = findings.folder.parent
    changes = [f"--set {shlex.quote(change)}" for change in recipe.settings]
    place = [] if runs.name == "runs" else [f"--runs {shlex.quote(str(runs))}"]
    sweep = shlex.quote(recipe.sweep_file or f"sweeps/{findings.name}.yaml")
    devices = [f"--devices {recipe.num_devices}"] if recipe.num_devices else []
    device = [f"--accelerator {shlex.quote(recipe.accelerator)}"] if recipe.accelerator else []
    ranks = [f"--num_accelerators {recipe.num_devices}"] if recipe.num_devices else []
    return [
        " ".join(["scaling plan", sweep, *changes, *devices, *device, *place]),
        " ".join(["deepspeed", *ranks, "launch", sweep, *changes, *place]),
        " ".join(["scaling report", sweep, *place, f"--metric {findings.main.metric}", *_choices(findings)]),
    ]


def _choices(findings: SweepFindings) -> list[str]:
    """The options of the report that were not left at their defaults."""
    options, default = findings.main.options, StudyOptions()
    told = []
    if options.between is not None:
        told.append(f"--between {shlex.quote(','.join(options.between))}")
    if options.reference_compute is not None:
        told.append(f"--at {options.reference_compute:.12g}")
    if options.num_refits != default.num_refits:
        told.append(f"--refits {options.num_refits}")
    return told


def provenance_table(findings: SweepFindings, written: str) -> Table:
    """Code, runs and options that the numbers of the page rest on."""
    code, options, recipe = code_version(), findings.main.options, recipe_of(findings.folder)
    finished = list(findings.table["finished_at"].dropna()) if "finished_at" in findings.table else []
    rows = {
        "package": f"{code['package']} {code['version']}",
        "commit of the analysis": code["commit"],
        "page written (UTC)": written,
        "last run finished (UTC)": str(max(finished, default="none")),
        "contract of the plan": recipe.contract_hash or "no plan",
        "metric of the answer": findings.main.metric,
        "confidence": f"{options.level:.0%}",
        "refits of the bootstrap": f"{options.num_refits:,}, seed {options.seed}",
        "reference compute": (
            "the largest that both objectives have"
            if options.reference_compute is None
            else f"{options.reference_compute:.3g} FLOPs"
        ),
        "sealed runs": ", ".join(sorted(options.sealed)) or "none",
    }
    return Table(
        caption="Provenance of this page",
        columns=(text_column("what"), text_column("value")),
        rows=tuple((words(name), words(value)) for name, value in rows.items()),
    )
