"""Evaluation sets as their owners publish them become labelled sets that evaluation reads."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_files import labelled, picture, put
from PIL import Image
from scipy.io import savemat

from scaling.data.conversion.convert import convert
from scaling.data.indexed import IndexedDataset
from scaling.data.labelled import read_labelled_set
from scaling.data.manifest import LabelledManifest


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    for name in ("train/tabby_cat/1.jpg", "train/dog/1.JPEG", "train/dog/2.png", "val/dog/3.jpg"):
        put(tmp_path / "src" / name, picture())
    return tmp_path / "src"


def test_class_folders_are_labelled_in_alphabetical_order(class_folders: Path, tmp_path: Path) -> None:
    manifest = convert(str(class_folders), tmp_path / "dst", progress=False)
    assert labelled(tmp_path / "dst") == {
        "train": [("train/dog/1", 0), ("train/dog/2", 0), ("train/tabby_cat/1", 1)],
        "test": [("val/dog/3", 0)],
    }
    written = LabelledManifest.model_validate_json((tmp_path / "dst" / "manifest.json").read_text())
    assert written == LabelledManifest(
        kind="classes",
        num_samples={"train": 3, "test": 1},
        class_names=["dog", "tabby cat"],
        class_names_from="names of the class folders",
        templates=["a photo of a {c}."],
        templates_from="one plain prompt",
    )
    assert manifest.num_samples == 4
    assert (
        convert(str(class_folders), tmp_path / "dst", progress=False) == manifest
    ), "a re-run changes nothing"


def test_texts_beside_the_classes_are_used_and_said_to_be(class_folders: Path, tmp_path: Path) -> None:
    put(class_folders / "classnames.txt", "hound\ntabby\n")
    put(class_folders / "zeroshot_classification_templates.txt", "art of a {c}\n")
    convert(str(class_folders), tmp_path / "dst", kind="classes", progress=False)
    written = json.loads((tmp_path / "dst" / "manifest.json").read_text())
    assert (written["class_names"], written["class_names_from"]) == (["hound", "tabby"], "classnames.txt")
    assert read_labelled_set(tmp_path / "dst").prompts("tabby") == ["art of a tabby"]


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("classnames.txt", "one\n", "names 1 classes, the images have 2"),
        ("zeroshot_classification_templates.txt", "a {}\n", "has no {c}"),
        ("val/bird/1.jpg", picture(), "the class 'bird' has no folder in .*train"),
    ],
)
def test_texts_and_classes_that_do_not_fit_are_refused(
    name: str, content: bytes | str, told: str, class_folders: Path, tmp_path: Path
) -> None:
    put(class_folders / name, content)
    with pytest.raises(ValueError, match=told):
        convert(str(class_folders), tmp_path / "dst", kind="classes", progress=False)


def test_a_folder_without_classes_is_told_what_it_should_hold(tmp_path: Path) -> None:
    put(tmp_path / "src" / "dog" / "1.jpg", picture())
    with pytest.raises(ValueError, match="needs train/CLASS"):
        convert(str(tmp_path / "src"), tmp_path / "dst", kind="classes", progress=False)


def test_pets_are_read_by_their_lists(tmp_path: Path) -> None:
    source = tmp_path / "pets"
    for name in ("Abyssinian_1", "great_pyrenees_7", "Abyssinian_2"):
        put(source / "images" / f"{name}.jpg", picture())
    put(source / "annotations" / "trainval.txt", "Abyssinian_1 1 1 1\ngreat_pyrenees_7 2 2 1\n")
    put(source / "annotations" / "test.txt", "# comment\nAbyssinian_2 1 1 1\nAbyssinian_9 1 1 1\n")
    manifest = convert(str(source), tmp_path / "dst", kind="pets", progress=False)
    assert labelled(tmp_path / "dst") == {
        "train": [("images/Abyssinian_1", 0), ("images/great_pyrenees_7", 1)],
        "test": [("images/Abyssinian_2", 0)],
    }
    assert manifest.rejects == {"missing image": 1}, "a listed image that is not there is not lost in silence"
    assert read_labelled_set(tmp_path / "dst").class_names == ("Abyssinian", "great pyrenees")
    assert read_labelled_set(tmp_path / "dst").templates == ("a photo of a {c}, a type of pet.",)


def test_cars_are_read_by_their_annotations(tmp_path: Path) -> None:
    source = tmp_path / "cars"
    for name in ("cars_train/00001.jpg", "cars_train/00002.jpg", "cars_test/00001.jpg"):
        put(source / name, picture())
    (source / "devkit").mkdir()

    def annotate(name: str, rows: list[tuple[str, int]]) -> None:
        kinds = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
        array = np.array([(1, label, file) for file, label in rows], dtype=kinds)
        savemat(source / "devkit" / name, {"annotations": array})

    savemat(
        source / "devkit" / "cars_meta.mat",
        {"class_names": np.array(["AM General Hummer", "Audi TT"], dtype=object)},
    )
    annotate("cars_train_annos.mat", [("00001.jpg", 2), ("00002.jpg", 1)])
    annotate("cars_test_annos_withlabels.mat", [("00001.jpg", 2)])
    convert(str(source), tmp_path / "dst", kind="cars", progress=False)
    assert labelled(tmp_path / "dst") == {
        "train": [("cars_train/00001", 1), ("cars_train/00002", 0)],
        "test": [("cars_test/00001", 1)],
    }
    found = read_labelled_set(tmp_path / "dst")
    assert found.class_names == ("AM General Hummer", "Audi TT") and len(found.templates) == 8


def write_cifar(folder: Path, pixels: dict[str, np.ndarray[Any, Any]], labels: list[int]) -> None:
    folder.mkdir()
    for name, data in pixels.items():
        batch = {
            b"data": data,
            b"labels": labels,
            b"filenames": [f"{name}_{number}.png".encode() for number in range(len(data))],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"airplane", b"frog"]}, protocol=2))


def test_cifar_pixels_come_through_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    pixels = {name: rng.integers(0, 256, (2, 3072), dtype=np.uint8) for name in names}
    write_cifar(tmp_path / "cifar-10-batches-py", pixels, [1, 0])
    convert(str(tmp_path), tmp_path / "dst", kind="cifar10", progress=False)
    found = read_labelled_set(tmp_path / "dst")
    assert len(found.train) == 10 and len(found.test) == 2 and len(found.templates) == 18
    sample = found.test[1]
    red_HW = np.asarray(Image.open(io.BytesIO(sample["jpg"])))[:, :, 0]
    assert (red_HW == pixels["test_batch"][1, :1024].reshape(32, 32)).all()
    assert (sample["key"], sample["label"], sample["caption"]) == ("test_batch_1", 0, "airplane")


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Dangerous:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("it ran",)

    put(tmp_path / "batches.meta", pickle.dumps(Dangerous()))
    with pytest.raises(ValueError, match="builtins.print is not part of an array"):
        convert(str(tmp_path), tmp_path / "dst", kind="cifar10", progress=False)


def test_coco_captions_are_split_as_karpathy_did(tmp_path: Path) -> None:
    described = []
    for number, (split, folder) in enumerate(
        [("train", "train2014"), ("restval", "val2014"), ("val", "val2014"), ("test", "val2014")]
    ):
        name = f"COCO_{folder}_{number:012d}.jpg"
        put(tmp_path / "coco" / folder / name, picture(colour=number))
        sentences = [{"raw": f" {split} one."}, {"raw": f"{split} two."}]
        described.append({"filepath": folder, "filename": name, "split": split, "sentences": sentences})
    put(tmp_path / "coco" / "dataset_coco.json", json.dumps({"images": described}))
    convert(str(tmp_path / "coco"), tmp_path / "dst", progress=False)
    found = {name: list(IndexedDataset(tmp_path / "dst" / name)) for name in ("train", "validation", "test")}
    assert {name: [one["captions"] for one in some] for name, some in found.items()} == {
        "train": [["train one.", "train two."], ["restval one.", "restval two."]],
        "validation": [["val one.", "val two."]],
        "test": [["test one.", "test two."]],
    }
    assert found["test"][0]["key"] == "val2014/COCO_val2014_000000000003"


def test_a_recipe_names_the_file_that_is_missing(tmp_path: Path) -> None:
    for kind, name in {
        "pets": "trainval.txt", "cars": "cars_meta.mat", "cifar10": "batches.meta", "coco": "dataset_coco.json",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} does not exist"):
            convert(str(tmp_path), tmp_path / "dst", kind=kind, progress=False)


def test_evaluation_sets_are_never_compressed(class_folders: Path, tmp_path: Path) -> None:
    from scaling.data.conversion.settings import ConversionSettings

    with pytest.raises(ValueError, match="--compression zstd .*evaluation reads uncompressed"):
        convert(
            str(class_folders),
            tmp_path / "dst",
            settings=ConversionSettings(compression="zstd"),
            progress=False,
        )


def test_real_photographs_in_class_folders_become_a_labelled_set(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    with tarfile.open(shared_data("labelled") / "cifar10_images.tar") as tar:
        chosen = [one for one in tar if one.name.endswith((".txt", "/0000.jpg", "/0001.jpg"))]
        tar.extractall(tmp_path, chosen, filter="data")
    convert(str(tmp_path / "cifar10"), tmp_path / "dst", kind="classes", progress=False)
    found = read_labelled_set(tmp_path / "dst")
    assert len(found.train) == len(found.test) == 20 and len(found.class_names) == 10
    assert "a low resolution photo of a {c}." in found.templates
