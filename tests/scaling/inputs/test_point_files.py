"""The files of a point: known by content, named by key, refused before training where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scaling.inputs.data_paths import DataSection
from scaling.inputs.point_files import resolve_files
from scaling.sweep.science import UNRESOLVED
from scaling.sweep.sweep_file import SweepError

WORDS = {
    "format": "word_vocabulary",
    "version": 1,
    "analysis": "plain",
    "wordnet_version": None,
    "remove_stop_words": False,
    "min_count": 1,
    "top": None,
    "data_digest": "d",
    "num_samples": 10,
    "num_empty": 1,
    "coverage": {
        "mean_labels_per_caption": 1.5,
        "out_of_vocabulary_rate": 0.1,
        "zero_label_rate": 0.1,
        "sizes": {"1": 3},
    },
    "words": ["star", "ring", "moon"],
    "counts": [9, 5, 2],
}
POINT = {"objective": "superclass", "image_tower": "vit_nano8", "samples_seen": 512}


def words_file(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**WORDS, **changes}))
    return path


def resolve(section: DataSection, *, require_data: bool = True, **values: Any) -> Any:
    return resolve_files({**POINT, **values}, section, require_data=require_data)


def test_the_size_and_the_content_of_a_word_vocabulary_enter_the_science(tmp_path: Path) -> None:
    path = words_file(tmp_path / "words.json")
    section = DataSection(vocabularies={"words": path})
    science, files = resolve(section, tokenizer="words")
    assert science["vocabulary_size"] == 3 and files["vocabulary"] == path
    elsewhere = words_file(tmp_path / "copy.json")
    assert resolve(DataSection(vocabularies={"words": elsewhere}), tokenizer="words")[0] == science
    other = words_file(tmp_path / "other.json", words=["star", "ring", "sun"])
    assert resolve(DataSection(vocabularies={"words": other}), tokenizer="words")[0] != science


def test_words_without_a_vocabulary_stay_unresolved_in_a_plan_and_stop_a_launch() -> None:
    science, _ = resolve(DataSection(), require_data=False, tokenizer="words")
    assert (science["vocabulary_size"], science["vocabulary_digest"]) == (24_320, UNRESOLVED)
    with pytest.raises(
        ValueError, match="data.vocabularies.words is not set: .*`scaling data count DIR --labels words"
    ):
        resolve(DataSection(), tokenizer="words")


def test_frozen_idf_of_words_reads_the_counts_of_their_vocabulary(tmp_path: Path) -> None:
    path = words_file(tmp_path / "words.json")
    science, files = resolve(DataSection(vocabularies={"words": path}), tokenizer="words", idf="frozen")
    assert files["label_counts"] == path and science["label_counts_digest"]
    recounted = words_file(tmp_path / "words.json", counts=[9, 6, 2])
    again, _ = resolve(DataSection(vocabularies={"words": recounted}), tokenizer="words", idf="frozen")
    assert again["label_counts_digest"] != science["label_counts_digest"]


def test_frozen_idf_without_counts_names_the_key_and_the_command() -> None:
    with pytest.raises(
        SweepError, match="data.label_counts.clip_bpe does not name: make them with `scaling data count"
    ):
        resolve(DataSection(), idf="frozen")
    assert resolve(DataSection(), require_data=False, idf="frozen")[0]["label_counts_digest"] == UNRESOLVED


def test_counts_of_other_labels_are_refused(tmp_path: Path) -> None:
    path = words_file(tmp_path / "words.json")
    section = DataSection(vocabularies={"words": path}, label_counts={"words": path})
    with pytest.raises(ValueError, match="remove_stop_words: False there, True here"):
        resolve(section, tokenizer="words", idf="frozen", remove_stop_words=True)


# The run that an image tower starts from


def finished_run(folder: Path, image_tower: str = "vit_nano8") -> Path:
    folder.mkdir(parents=True)
    record: dict[str, Any] = {
        "sweep": "s",
        "run_id": folder.name,
        "science": {"image_tower": image_tower},
        "placement": {},
        "data": {"unique_samples": 1, "epochs": 1.0, "undecodable_images": 0, "empty_captions": 0},
        "planned": {
            "parameters": {},
            "train_flops_per_sample": {},
            "train_flops": 1,
            "steps": 1,
            "accelerator": "cpu_core",
            "utilisation": 0.1,
            "device_hours": 1.0,
        },
        "measured": {
            "samples_seen": 1,
            "steps": 1,
            "num_ranks": 1,
            "train_seconds": 1.0,
            "device_hours": 1.0,
            "samples_per_second": 1.0,
            "peak_memory_bytes": 1,
            "attempts": 1,
        },
        "final_loss": 1.0,
        "skipped_steps": 0,
        "evaluations": [],
        "environment": {},
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "weights.safetensors").touch()
    return folder


def test_an_image_tower_is_known_by_the_run_it_comes_from_and_not_by_its_place(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a" / "superclass-x")
    moved = finished_run(tmp_path / "b" / "superclass-x")
    science, files = resolve(DataSection(), image_init=f"run:{run}")
    assert (
        science["image_init"] == "run:superclass-x" and files["image_weights"] == run / "weights.safetensors"
    )
    assert resolve(DataSection(), image_init=f"run:{moved}")[0] == science
    assert resolve(DataSection(), image_init=f"run:{tmp_path}/a/superclass-*")[0] == science


def test_a_pretrained_tower_of_timm_is_known_by_its_name() -> None:
    science, files = resolve(DataSection(), image_init="timm:vit_base_patch16_clip_224.openai")
    assert science["image_init"] == "timm:vit_base_patch16_clip_224.openai" and files["image_weights"] is None


def test_a_run_that_is_not_there_twice_there_unfinished_or_of_another_tower_is_refused(
    tmp_path: Path,
) -> None:
    finished_run(tmp_path / "clip-x")
    finished_run(tmp_path / "clip-y")
    finished_run(tmp_path / "wide", image_tower="vit_tiny8")
    (tmp_path / "begun").mkdir()
    for name, message in {
        "none": "must name exactly one finished run, found none",
        "clip-*": "must name exactly one finished run, found clip-x, clip-y",
        "begun": "has no record.json: the run is not finished",
        "wide": "was trained with image_tower 'vit_tiny8', but image_tower is 'vit_nano8'",
    }.items():
        with pytest.raises(SweepError, match=message):
            resolve(DataSection(), image_init=f"run:{tmp_path}/{name}")


def test_a_tower_is_read_out_as_it_was_trained(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "mean-pooled")
    with pytest.raises(SweepError, match="was trained with pooling 'mean', but pooling is 'class_token'"):
        resolve(DataSection(), image_init=f"run:{run}", pooling="class_token")


def test_runs_still_to_come_are_told_apart_in_a_plan(tmp_path: Path) -> None:
    first, second = (
        resolve(DataSection(), require_data=False, image_init=f"run:{tmp_path}/{name}-*")[0]["image_init"]
        for name in ("superclass", "clip")
    )
    assert first != second and UNRESOLVED in first
