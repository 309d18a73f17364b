from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from scaling.data.indexed import IndexedDataset
from scaling.data.labelled import read_labelled_set
from scaling.data.rendering.rendered import DifferentSettings, RenderSettings, render, rendered_sample
from scaling.data.verified_shards import preflight
from scaling.inputs.shard_index import read_shard_index


def _settings(folder: Path) -> RenderSettings:
    return RenderSettings(**json.loads((folder / "settings.json").read_text()))


def test_every_split_is_an_mds_folder_with_the_asked_number_of_scenes(small_rendering: Path) -> None:
    for split, count in {"train": 300, "validation": 64, "held_out": 8, "word_order": 8}.items():
        assert read_shard_index(small_rendering / split).num_samples == count
        assert preflight(small_rendering / split).hashes in ("verified", "verified before")
    labelled = read_labelled_set(small_rendering / "labelled")
    assert (len(labelled.train), len(labelled.test), len(labelled.class_names)) == (128, 64, 64)
    assert labelled.class_names[int(labelled.train[9]["label"])] == "orange square"


def test_shards_hold_the_samples_of_their_indices_in_order(small_rendering: Path) -> None:
    train = IndexedDataset(small_rendering / "train")
    for index in (0, 1, 299):
        assert train[index] == rendered_sample(0, "train", index, 32)


def test_rendering_again_does_nothing_and_other_settings_are_refused(small_rendering: Path) -> None:
    settings = _settings(small_rendering)
    assert render(small_rendering, settings, workers=1, progress=False) is False
    with pytest.raises(DifferentSettings, match="image_size: 32 there, 48 asked"):
        render(small_rendering, dataclasses.replace(settings, image_size=48), workers=1, progress=False)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DifferentSettings, match="holds other files"):
        render(tmp_path, RenderSettings(), workers=1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_killed_rendering_continues_to_the_same_data(small_rendering: Path, tmp_path: Path) -> None:
    broken = tmp_path / "rendered"
    shutil.copytree(small_rendering, broken)
    (broken / "manifest.json").unlink()
    part = broken / "train" / "part-00000"
    part.rename(part.with_suffix(".tmp"))
    assert render(broken, _settings(broken), workers=1, progress=False) is True
    assert read_shard_index(broken / "train").digest == read_shard_index(small_rendering / "train").digest


def test_a_split_without_scenes_is_refused() -> None:
    with pytest.raises(ValueError, match="validation"):
        RenderSettings(validation=0)
