"""What is fetched and refused before any training starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scaling.launching.preflight import check_data, fetch_image_weights
from scaling.points import resolve_points
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

BUDGET = """
name: budget
question: does it say so?
data: {{train: {train}, validation: {validation}}}
fixed: {{objective: superclass, image_tower: vit_nano8, image_size: 32, tokenizer: clip_bpe_4k, global_batch: 16,
        samples_seen: 32, warmup_samples: 0,
        unique_samples: 16}}
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


@pytest.mark.parametrize(("seed", "is_told"), [("null", True), ("7", False)])
def test_first_shards_of_a_set_in_its_own_order_are_used_and_said(
    small_rendering: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: str, is_told: bool
) -> None:
    train = tmp_path / "train"
    shutil.copytree(small_rendering / "train", train)
    manifest = {"num_samples": 1, "digest": "", "rejects": {}, "decode_every": 1, "parts": []}
    (train / "manifest.json").write_text(
        json.dumps({**manifest, "settings": {"shuffle_seed": json.loads(seed)}})
    )
    (tmp_path / "budget.yaml").write_text(
        BUDGET.format(train=train, validation=small_rendering / "validation")
    )
    points = resolve_points(load_sweep(tmp_path / "budget.yaml"), num_ranks=1)
    check_data(points, read_all=True)
    assert (f"the first shards of {train}" in capsys.readouterr().out) is is_told
