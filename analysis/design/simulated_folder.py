"""A simulated study as a sweep folder, runs/<sweep>, through the records that training writes."""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import Any

from analysis.design.assumed import CHANCE_ERROR, assumed_beliefs
from analysis.design.beliefs import Beliefs
from analysis.design.cells import Cell
from analysis.design.propose import H100_FLOPS_PER_HOUR
from analysis.design.shapes import DEFAULT_SHAPE, study_shapes
from analysis.design.simulated_runs import METRIC, simulated_runs
from scaling.records import (
    DataCounts,
    Evaluation,
    Measured,
    PlannedCost,
    RunDirectory,
    RunRecord,
    Status,
    run_directories,
    write_atomically,
)

GLOBAL_BATCH = 16_384
HELD_OUT = Cell(image_tower="vit_l16", samples_seen=4_000_000_000)  # largest compute of the default shape
DIVERGED = "clip-vit_b16-4B-s0"
SEED = 1  # of the simulated study
QUESTION = (
    "Does SuperClass reach the zero-shot error of CLIP with less compute? (simulated: no run was trained)"
)


def study_folder(folder: Path, otherwise: Path) -> Path:
    """`folder` where it holds runs, else `otherwise`, into which a simulated study of the default shape is written.

    Its truth is that of `assumed_beliefs`; one run has diverged, and its largest cell was set aside and opened.
    """
    if run_directories(folder):
        return folder
    shape = next(one for one in study_shapes() if one.name == DEFAULT_SHAPE)
    return write_simulated_folder(
        otherwise, assumed_beliefs(), shape.seeds, holdout=(HELD_OUT,), diverged=(DIVERGED,), seed=SEED
    )


def write_simulated_folder(
    folder: Path,
    beliefs: Beliefs,
    seeds: Mapping[Cell, int],
    *,
    holdout: Collection[Cell] = (),
    diverged: Collection[str] = (),
    seed: int = 0,
) -> Path:
    """The folder, with a run directory per simulated run and a plan; the same bytes for the same arguments.

    Runs in `holdout` cells are set aside by the plan, and opened on record; `diverged` run_ids have no score.
    ValueError where the folder holds runs that are not of this simulation.
    """
    runs = simulated_runs(beliefs, seeds, seed=seed)
    foreign = {one.path.name for one in run_directories(folder)} - set(runs["run_id"])
    if foreign:
        raise ValueError(
            f"{folder}: holds {len(foreign)} runs that are not of this simulation, such as {min(foreign)}; give "
            "another folder."
        )
    rows = runs.to_dict("records")
    for row in rows:
        _write_run(folder, row, is_diverged=row["run_id"] in diverged)
    sealed = list(runs.loc[runs["cell"].isin([cell.label for cell in holdout]), "run_id"])
    points = [{"point": _point(folder, row), "cost": _planned(row).model_dump(mode="json")} for row in rows]
    plan = {"question": QUESTION, "points": points, "varied": [], "holdout": sealed}
    write_atomically(folder / "plan.json", json.dumps(plan))
    opening = {"opened_at": "2026-01-01T00:00:00+00:00", "opened_by": "the simulation"}
    line = json.dumps({**opening, "run_ids": sealed, "finished": sealed}) + "\n"
    write_atomically(folder / "unsealed.jsonl", line if sealed else "")
    return folder


def _write_run(folder: Path, row: Mapping[Hashable, Any], *, is_diverged: bool) -> None:
    path = folder / row["run_id"]
    path.mkdir(parents=True, exist_ok=True)
    directory, total = RunDirectory(path), int(row["samples_seen"])
    write_atomically(directory.point, json.dumps(_point(folder, row)))
    if is_diverged:
        failure = Status(
            state="diverged", reason="the loss was not finite", samples_total=total, updated_at=0.0
        )
        directory.write_status(failure)
        return
    directory.write_status(Status(state="done", samples_seen=total, samples_total=total, updated_at=0.0))
    directory.write_record(_record(folder, row))


def _point(folder: Path, row: Mapping[Hashable, Any]) -> dict[str, Any]:
    science = {name: row[name] for name in ("objective", "image_tower", "samples_seen", "seed")}
    head = {"sweep": folder.name, "run_id": row["run_id"], "science": science}
    return {**head, "data": {}, "placement": {}, "evaluation": {}}


def _planned(row: Mapping[Hashable, Any]) -> PlannedCost:
    """Costs as the beliefs have them, on a device of the assumed speed."""
    return PlannedCost(
        parameters={"image_tower": int(row["parameters"])},
        train_flops_per_sample={"all parts": round(row["train_flops"] / row["samples_seen"])},
        train_flops=round(row["train_flops"]),
        steps=int(row["samples_seen"]) // GLOBAL_BATCH,
        accelerator="simulated",
        utilisation=0.4,
        device_hours=row["train_flops"] / H100_FLOPS_PER_HOUR,
    )


def _record(folder: Path, row: Mapping[Hashable, Any]) -> RunRecord:
    samples, planned = int(row["samples_seen"]), _planned(row)
    seconds = planned.device_hours * 3600
    task, _, name = METRIC.partition(".")
    score = Evaluation(
        task=task,
        protocol="simulated@1",
        metrics={name: 1 - row["error"], "chance": 1 - CHANCE_ERROR},
        num_samples=50_000,  # of ImageNet's validation set
        samples_seen=samples,
        seconds=0.0,
    )
    point = _point(folder, row)
    return RunRecord(
        sweep=folder.name,
        run_id=row["run_id"],
        science=point["science"],
        placement={},
        data=DataCounts(unique_samples=samples, epochs=1.0, undecodable_images=0, empty_captions=0),
        planned=planned,
        measured=Measured(
            samples_seen=samples,
            steps=planned.steps,
            num_ranks=1,
            train_seconds=seconds,
            device_hours=planned.device_hours,
            samples_per_second=samples / seconds,
            peak_memory_bytes=0,
            attempts=1,
        ),
        final_loss=0.0,
        skipped_steps=0,
        evaluations=[score],
        environment={"simulated": "analysis.design.simulated_folder"},
        finished_at="2026-01-01T00:00:00Z",
    )
