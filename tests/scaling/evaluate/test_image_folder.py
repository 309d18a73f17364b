"""A labelled set in class folders scores as the same images in shards do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaling.data.image_folder import ImageFolder, open_labelled_set
from scaling.data.labelled import LabelledSet
from scaling.evaluate.context import EvaluationContext
from scaling.evaluate.zero_shot import zero_shot
from scaling.inputs.data_paths import DataSection, resolve_data
from scaling.sweep.sweep_file import SweepError


@pytest.fixture
def folder(labelled: LabelledSet, tmp_path: Path) -> Path:
    """The images of the labelled set as files below train/CLASS and val/CLASS, as ImageNet comes."""
    root = tmp_path / "classes"
    for made, samples in (("train", labelled.train), ("val", labelled.test)):
        for sample in samples:
            path = root / made / f"n{sample['label']:02d}" / f"{sample['key']}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sample["jpg"])
    for name in ("classnames.txt", "zeroshot_classification_templates.txt"):
        shutil.copy(labelled.train.folder.parent / name, root)
    return root


def test_class_folders_hold_the_samples_of_the_shards(labelled: LabelledSet, folder: Path) -> None:
    found = open_labelled_set(folder)
    assert (found.class_names, found.templates) == (labelled.class_names, labelled.templates)
    for ours, theirs in ((found.train, labelled.train), (found.test, labelled.test)):
        assert sorted((s["jpg"], s["label"]) for s in ours) == sorted((s["jpg"], s["label"]) for s in theirs)


def test_zero_shot_scores_are_those_of_the_shards(
    clip: Any, context_of: Callable[..., EvaluationContext], folder: Path
) -> None:
    from_shards = zero_shot(context_of(clip))
    from_folder = zero_shot(context_of(clip, labelled=open_labelled_set(folder)))
    assert from_shards is not None and from_folder is not None
    assert from_folder.metrics == from_shards.metrics
    assert (
        from_folder.settings["labelled"] != from_shards.settings["labelled"]
    ), "the digest says which set it was"


def test_the_digest_changes_with_an_image(folder: Path) -> None:
    before = open_labelled_set(folder).test.digest
    victim = next((folder / "val").rglob("*.JPEG"))
    os.truncate(victim, victim.stat().st_size - 1)
    assert open_labelled_set(folder).test.digest != before


def test_names_and_prompts_are_those_of_the_folders_where_no_text_says_more(folder: Path) -> None:
    for text in folder.glob("*.txt"):
        text.unlink()
    found = open_labelled_set(folder)
    assert found.class_names == ("n00", "n01", "n02")
    assert isinstance(found.train, ImageFolder) and all("{c}" in template for template in found.templates)


def test_a_sweep_takes_class_folders_as_its_labelled_set(folder: Path, validation: Any) -> None:
    sets = {"validation": validation.folder, "labelled": folder}
    section = DataSection(train=[{"folder": validation.folder}], **sets)  # type: ignore[list-item]
    assert resolve_data(section, require_data=True)[0].labelled == folder
    with pytest.raises(SweepError, match="data.labelled: .*nowhere"):
        resolve_data(section.model_copy(update={"labelled": folder / "nowhere"}), require_data=True)
