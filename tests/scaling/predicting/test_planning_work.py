"""Planning counts a tower once, however many points and placements it is weighed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo import tower_counts
from scaling.planning.requested_plan import PlanRequest, requested_plan
from scaling.spec import load_sweep
from scaling.sweep.science import Science

SWEEP = """
name: many
question: q
vary:
  objective: [superclass, clip]
  image_tower: [vit_s16, vit_b16]
  global_batch: [2048, 4096, 8192]
  samples_seen: [128M, 512M]
fixed: {warmup_samples: 1M}
"""


def test_a_changed_copy_of_a_point_s_science_has_its_own_specification() -> None:
    science = Science(objective="superclass", image_tower="vit_s16", samples_seen=10**9)
    assert science.specification.image_size == 224
    assert science.model_copy(update={"image_size": 112}).specification.image_size == 112
    assert science.specification.image_size == 224


def test_a_tower_is_counted_once_for_all_points_and_placements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    count = tower_counts._vision_transformer

    def counting(image: object, *sizes: object) -> object:
        counted.append(image.name)  # type: ignore[attr-defined]
        return count(image, *sizes)  # type: ignore[arg-type]

    monkeypatch.setattr(tower_counts, "_vision_transformer", counting)
    tower_counts.count_image_tower.cache_clear()
    (tmp_path / "many.yaml").write_text(SWEEP)
    request = PlanRequest(num_devices=8, accelerator="h200_sxm", runs=tmp_path)
    plan = requested_plan(load_sweep(tmp_path / "many.yaml"), request)
    assert len(plan.points) == 24
    assert sorted(counted) == ["vit_b16", "vit_s16"]
