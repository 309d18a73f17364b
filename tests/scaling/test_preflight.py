"""What is fetched and refused before any training starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling.points import resolve_points
from scaling.preflight import fetch_image_weights
from scaling.spec import load_sweep

SWEEP = """
name: tuned
question: does it read the tower?
vary: {seed: [0, 1]}
fixed:
  objective: lit
  image_tower: vit_b16
  image_init: timm:vit_base_patch16_clip_224.openai
  samples_seen: 512M
"""


def test_a_pretrained_tower_is_fetched_once_before_any_rank_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("model_zoo.weight_files.timm_pretrained", fetched.append)
    (tmp_path / "tuned.yaml").write_text(SWEEP)
    points = resolve_points(load_sweep(tmp_path / "tuned.yaml"), num_ranks=8, require_data=False)
    fetch_image_weights(points)
    assert len(points) == 2 and fetched == ["vit_base_patch16_clip_224.openai"]
