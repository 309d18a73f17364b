"""Sweep folders with a known truth, written through the real records: points, statuses, finished runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaling.records import (
    DataCounts,
    Evaluation,
    Measured,
    PlannedCost,
    RunDirectory,
    RunRecord,
    State,
    Status,
    write_atomically,
)

TOWERS = {"vit_nano8": 30_000_000, "vit_micro8": 120_000_000, "vit_tiny8": 500_000_000}
"""Training FLOPs per sample of the image tower."""
SAMPLES = (8_192, 16_384, 32_768)
CLASSES = 64

Score = Callable[[str, float], float]
"""From (objective, training FLOPs) to linear-probe error."""


def science(objective: str, image_tower: str, samples_seen: int, seed: int = 0) -> dict[str, Any]:
    """Science of a point, with the fields the analysis looks at and two that are the same everywhere."""
    return {
        "objective": objective,
        "image_tower": image_tower,
        "samples_seen": samples_seen,
        "seed": seed,
        "text_tower": "none" if objective == "superclass" else image_tower.replace("vit", "text"),
        "global_batch": 256,
        "precision": "bf16_autocast",
    }


def planned_cost(point: Mapping[str, Any]) -> PlannedCost:
    """The planner's view; CLIP pays a fifth more for its text tower."""
    image = TOWERS[point["image_tower"]]
    per_sample = {"image_tower": image, "text_tower": image // 5 if point["objective"] == "clip" else 0}
    total = sum(per_sample.values()) * int(point["samples_seen"])
    return PlannedCost(
        parameters={
            "image_tower": image // 300,
            "text_tower": per_sample["text_tower"] // 300,
            "head": 4_096,
        },
        train_flops_per_sample=per_sample,
        train_flops=total,
        steps=int(point["samples_seen"]) // 256,
        accelerator="cpu_core",
        utilisation=0.1,
        device_hours=total / 1e10 / 3600,
    )


def finished_record(run_id: str, point: dict[str, Any], evaluations: list[Evaluation]) -> RunRecord:
    """The record of a run that went as planned, 10 % slower."""
    planned, seen = planned_cost(point), int(point["samples_seen"])
    hours = planned.device_hours * 1.1
    measured = Measured(
        samples_seen=seen,
        steps=planned.steps,
        num_ranks=2,
        train_seconds=hours * 1800,
        device_hours=hours,
        samples_per_second=seen / (hours * 1800),
        peak_memory_bytes=900_000_000,
        attempts=1,
    )
    return RunRecord(
        sweep="simulated",
        run_id=run_id,
        science=point,
        placement={"num_ranks": 2},
        data=DataCounts(
            unique_samples=100_000, epochs=seen / 100_000, undecodable_images=1, empty_captions=0
        ),
        planned=planned,
        measured=measured,
        final_loss=5.0,
        skipped_steps=0,
        evaluations=evaluations,
        environment={"torch": "2.15", "python": "3.11"},
        finished_at="2026-11-21T05:00:00Z",
    )


def evaluations_of(point: Mapping[str, Any], error: float) -> list[Evaluation]:
    """Linear probe with the given error, and all other tasks in step with it."""
    common: dict[str, Any] = {"protocol": "simulated@1", "num_samples": 2_000, "seconds": 1.0}
    common["samples_seen"] = point["samples_seen"]
    suffix = "_head" if point["objective"] == "superclass" else ""
    directions = ("image_to_text", "text_to_image")
    recall = {
        f"{way}_recall_at_{k}": min(1.0, (1 - error) * k / 20) for way in directions for k in (1, 5, 10)
    }
    return [
        Evaluation(task="linear_probe", metrics={"top1": 1 - error, "chance": 1 / CLASSES}, **common),
        Evaluation(task="held_out_loss", metrics={"loss": 3 + 2 * error}, **common),
        Evaluation(
            task=f"zero_shot{suffix}", metrics={"top1": 0.8 * (1 - error), "chance": 1 / CLASSES}, **common
        ),
        Evaluation(task=f"retrieval{suffix}", metrics=recall, **common),
    ]


class SweepFolder:
    """A folder runs/<sweep> under construction."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(
        self, point: dict[str, Any], state: State, *, reason: str = "", error: float | None = None
    ) -> str:
        """Write one run directory and return its run_id; a finished run has the given linear-probe error."""
        run_id = f"{point['objective']}-{point['image_tower']}-{point['samples_seen']}-s{point['seed']}"
        folder = self.path / run_id
        folder.mkdir(parents=True)
        directory = RunDirectory(folder)
        asked = {"sweep": "simulated", "run_id": run_id, "science": point}
        asked |= {"data": {}, "placement": {}, "evaluation": {}}
        write_atomically(directory.point, json.dumps(asked))
        directory.write_status(Status(state=state, reason=reason, samples_total=int(point["samples_seen"])))
        if error is not None:
            directory.write_record(finished_record(run_id, point, evaluations_of(point, error)))
        return run_id

    def plan(self, question: str = "", varied: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write plan.json for the run directories that stand there now."""
        entries = []
        for path in sorted(self.path.glob("*/point.json")):
            point = json.loads(path.read_text())
            cost = planned_cost(point["science"]).model_dump(mode="json")
            entries.append({"point": point, "cost": cost})
        plan = {"question": question, "points": entries, "varied": list(varied)}
        write_atomically(self.path / "plan.json", json.dumps(plan))

    def add_grid(self, score: Score, objectives: tuple[str, ...] = ("superclass", "clip")) -> None:
        """Three towers x three samples_seen, all finished."""
        for objective in objectives:
            for tower in TOWERS:
                for samples in SAMPLES:
                    point = science(objective, tower, samples)
                    self.add(point, "done", error=score(objective, planned_cost(point).train_flops))


TRUE_EXPONENT = {"superclass": 0.35, "clip": 0.25}


def true_error(objective: str, train_flops: float) -> float:
    """error = 0.1 + 0.6 (C / 1e12)^-exponent, the law of the simulated sweeps."""
    return float(0.1 + 0.6 * (train_flops / 1e12) ** -TRUE_EXPONENT[objective])


def surface_error(point: Mapping[str, Any]) -> float:
    """One surface of image tower and samples for both objectives: CLIP differs in what its text tower costs alone."""
    size, samples = TOWERS[point["image_tower"]] / 1.2e8, point["samples_seen"] / 16_384
    u = 0.5 * size**-0.4 + 0.6 * samples**-0.5
    return float((0.1 + (1 - 1 / CLASSES) * u) / (1 + u))


def add_surface(
    folder: SweepFolder, *, noise: float, seeds: tuple[int, ...] = (0,), random_seed: int = 0
) -> None:
    """Three towers x three samples_seen x seeds of both objectives, finished; noise is relative, of each run."""
    rng = np.random.default_rng(random_seed)
    for objective in ("superclass", "clip"):
        for tower in TOWERS:
            for samples in SAMPLES:
                for seed in seeds:
                    point = science(objective, tower, samples, seed)
                    folder.add(
                        point,
                        "done",
                        error=surface_error(point) * float(np.exp(noise * rng.standard_normal())),
                    )
