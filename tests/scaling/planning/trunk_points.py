"""Points of one small trunk: of 10, 20 and 40 steps, of which the last fifth decays."""

from __future__ import annotations

from pathlib import Path

from scaling.points import RunPoint, resolve_points
from scaling.spec import load_sweep
from scaling.sweep.science import run_id, trunk_id

SWEEP = """
name: trunk
question: q
vary:
  objective: [superclass]
  samples_seen: [1000, 2000, 4000]
fixed: {image_tower: vit_tiny8, image_size: 48, global_batch: 100, warmup_samples: 100, schedule: wsd}
"""


def points_of(folder: Path, *overrides: str, num_ranks: int = 1) -> list[RunPoint]:
    (folder / "trunk.yaml").write_text(SWEEP)
    return resolve_points(
        load_sweep(folder / "trunk.yaml", overrides), num_ranks=num_ranks, require_data=False
    )


def varied(point: RunPoint, **fields: object) -> RunPoint:
    science = point.science.model_copy(update=fields)
    return point.model_copy(
        update={"science": science, "run_id": run_id(science), "trunk": trunk_id(science)}
    )
