"""ImageNet-1k as its owners publish it, in tars or in folders, becomes a labelled set."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from labelled_files import labelled, picture, put, tar_of
from scipy.io import savemat

from scaling.data.conversion.convert import convert
from scaling.data.labelled import read_labelled_set

SYNSETS = [f"n{number:08d}" for number in range(1000)]
VAL_LABELS = [7, 999, 0]  # of the three validation images of the tests


def imagenet_train(root: Path, *, as_tar: bool) -> None:
    images = {synset: picture(colour=label) for label, synset in enumerate(SYNSETS)}
    if as_tar:
        # in another order than the labels
        tars = {f"{synset}.tar": tar_of({f"{synset}_5.JPEG": images[synset]}) for synset in reversed(SYNSETS)}
        put(root / "ILSVRC2012_img_train.tar", tar_of(tars))
    else:
        for synset in SYNSETS:
            put(root / "train" / synset / f"{synset}_5.JPEG", images[synset])


def imagenet_val(root: Path, *, as_tar: bool) -> None:
    names = [f"ILSVRC2012_val_{number:08d}" for number in (1, 2, 3)]
    if as_tar:
        put(root / "ILSVRC2012_img_val.tar", tar_of({f"{name}.JPEG": picture() for name in reversed(names)}))
        # The development kit numbers synsets in an order of its own, inner nodes of WordNet among them.
        ids = {synset: 1000 - label for label, synset in enumerate(SYNSETS)}
        rows = [(ids[synset], synset, "words", 0) for synset in SYNSETS] + [(1001, "n99999999", "thing", 2)]
        kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
        (root / "data").mkdir(parents=True)
        savemat(root / "data" / "meta.mat", {"synsets": np.array(rows, dtype=kinds)})
        truth = "".join(f"{ids[SYNSETS[label]]}\n" for label in VAL_LABELS)
        put(root / "data" / "ILSVRC2012_validation_ground_truth.txt", truth)
    else:
        for name in names:
            put(root / "val" / f"{name}.JPEG", picture())
        with open(root / "LOC_val_solution.csv", "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["ImageId", "PredictionString"])
            writer.writerows((name, f"{SYNSETS[label]} 1 2 3 4") for name, label in zip(names, VAL_LABELS))


@pytest.mark.parametrize("as_tar", [True, False])
def test_imagenet_is_labelled_by_the_alphabetical_order_of_its_synsets(as_tar: bool, tmp_path: Path) -> None:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    imagenet_train(tmp_path / "src", as_tar=as_tar)
    imagenet_val(tmp_path / "src", as_tar=as_tar)
    convert(str(tmp_path / "src"), tmp_path / "dst", kind="imagenet", progress=False)
    found = labelled(tmp_path / "dst")
    assert [label for _, label in found["test"]] == VAL_LABELS
    assert {key.rpartition("/")[2]: label for key, label in found["train"]} == {
        f"{synset}_5": label for label, synset in enumerate(SYNSETS)
    }
    made = read_labelled_set(tmp_path / "dst")
    assert made.class_names == tuple(IMAGENET_CLASSNAMES) and len(made.templates) == 80
    sample = made.train[123]
    assert sample["jpg"] == picture(colour=int(sample["label"]))


def test_a_part_of_imagenet_is_not_given_the_names_of_the_whole(tmp_path: Path) -> None:
    put(tmp_path / "train" / "n01440764" / "1.JPEG", picture())
    with pytest.raises(ValueError, match="1 synsets.*ImageNet-1k has 1000.*--kind classes"):
        convert(str(tmp_path), tmp_path / "dst", kind="imagenet", progress=False)
