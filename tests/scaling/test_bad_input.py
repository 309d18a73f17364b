"""What a user can get wrong is told before any training, with the file, the key, the value, the rule and the fix."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scaling.launch import EXIT_BAD_INPUT, main

SWEEP = """
name: bad
question: what happens?
vary: {objective: [superclass, clip]}
fixed: {image_tower: vit_nano8, image_size: 32, tokenizer: clip_bpe_4k, context_length: 16, global_batch: 32,
        samples_seen: 256, warmup_samples: 64}
data: {train: DATA/train, validation: DATA/validation, labelled: DATA/labelled}
evaluate: {batch: 32}
"""


@pytest.fixture
def data(small_rendering: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_rendering, tmp_path / "data"))


def _launch(tmp_path: Path, data: Path, *changes: str, runs: Path | None = None) -> int:
    sweep = tmp_path / "bad.yaml"
    sweep.write_text(SWEEP.replace("DATA", str(data)))
    settings = [word for change in changes for word in ("--set", change)]
    return main([str(sweep), "--runs", str(runs or tmp_path / "runs"), *settings])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("samples_sen=256", ["samples_sen", "samples_seen"]),
        ("samples_seen=12X", ["samples_seen", "12X", "K, M, B"]),
        ("warmup_samples=512", ["warmup_samples (512)", "samples_seen (256)", "while warming up"]),
        ("image_tower=vit_nano9", ["vit_nano9", "vit_nano8"]),
        ("global_batch=512", ["global_batch", "samples_seen"]),
        ("tokenizer=bert", ["tokenizer", "clip_bpe"]),
        ("image_size=30", ["image_size 30", "use 32"]),
        ("data.train=/no/such/folder", ["data.train", "/no/such/folder", "scaling data convert"]),
        ("evaluate.batch=512", ["evaluate.batch", "512", "64"]),
    ],
)
def test_a_wrong_value_is_named_with_its_rule_and_fix(
    change: str, words: list[str], tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _launch(tmp_path, data, change) == EXIT_BAD_INPUT
    said = capsys.readouterr().out
    assert all(word in said for word in words), said
    assert not list((tmp_path / "runs").glob("*/*/point.json")), "no run was begun"


def test_a_batch_that_does_not_divide_over_the_ranks_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_SIZE", "3")
    assert _launch(tmp_path, data) == EXIT_BAD_INPUT
    assert "does not divide over 3 ranks" in capsys.readouterr().out


def test_an_empty_shard_folder_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "train" / "index.json").write_text(json.dumps({"version": 2, "shards": []}))
    assert _launch(tmp_path, data) == EXIT_BAD_INPUT
    assert "no samples" in capsys.readouterr().out


def test_a_flipped_byte_in_a_local_shard_is_refused_although_the_reader_would_serve_it(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = next((data / "train").rglob("shard.*.mds"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(bytes(content))
    assert _launch(tmp_path, data) == EXIT_BAD_INPUT
    assert shard.name in capsys.readouterr().out


def test_an_output_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert _launch(tmp_path, data, runs=tmp_path / "file" / "runs") == EXIT_BAD_INPUT
    assert "cannot be written" in capsys.readouterr().out and not (tmp_path / "runs").exists()


def test_a_pattern_that_matches_no_point_lists_the_points(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "bad.yaml"
    sweep.write_text(SWEEP.replace("DATA", str(data)))
    assert main([str(sweep), "--only", "siglip-*", "--runs", str(tmp_path / "runs")]) == EXIT_BAD_INPUT
    assert "clip-vit_nano8-256-s0" in capsys.readouterr().out
