"""Webdataset tars become MDS shards: nothing altered, and everything left out is counted."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageFile
from tar_samples import image, pairs, read, write_tar

from scaling.data.conversion import convert as conversion
from scaling.data.conversion.convert import convert
from scaling.data.indexed import IndexedDataset
from scaling.data.shards import IMAGE_TEXT_COLUMNS
from scaling.data.verified_shards import preflight


def test_images_captions_and_keys_come_through_unchanged(tmp_path: Path) -> None:
    write_tar(tmp_path / "src" / "00001.tar", pairs(3, 2))
    write_tar(tmp_path / "src" / "00000.tar", pairs(0, 3))
    manifest = convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)
    assert read(tmp_path / "dst") == [
        {"jpg": image(number), "caption": f"caption {number}", "key": f"{number:06d}"} for number in range(5)
    ]
    assert manifest.num_samples == 5 and manifest.rejects == {}
    assert preflight(tmp_path / "dst").hashes == "verified"


def test_one_tar_can_be_the_source(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "only.tar", pairs(0, 2))
    assert convert(str(tar), tmp_path / "dst", kind="tars", progress=False).num_samples == 2


def test_train_and_val_become_two_sets(tmp_path: Path) -> None:
    write_tar(tmp_path / "src" / "train" / "0.tar", pairs(0, 3))
    write_tar(tmp_path / "src" / "val" / "0.tar", pairs(0, 1))
    manifest = convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)
    assert {path.name: found.num_samples for path, found in manifest.sets.items()} == {
        "train": 3,
        "validation": 1,
    }
    assert len(read(tmp_path / "dst" / "train")) == 3 and len(read(tmp_path / "dst" / "validation")) == 1


def test_tars_beside_train_are_not_left_out_in_silence(tmp_path: Path) -> None:
    write_tar(tmp_path / "src" / "train" / "0.tar", pairs(0, 1))
    write_tar(tmp_path / "src" / "1.tar", pairs(0, 1))
    with pytest.raises(ValueError, match="has tars beside train"):
        convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)


def test_several_captions_come_along_with_the_main_one_first(tmp_path: Path) -> None:
    described = {"captions": ["a cat", "the cat", "one cat"], "url": "ignored"}
    members = [
        ("a.jpg", image()), ("a.txt", "the cat\n"), ("a.json", json.dumps(described)),
        ("b.jpg", image()), ("b.json", json.dumps({"caption": "only one"})),
        ("c.jpg", image()), ("c.json", json.dumps({"captions": ["first", "", "second"]})),
    ]  # fmt: skip
    convert(str(write_tar(tmp_path / "s.tar", members)), tmp_path / "dst", kind="tars", progress=False)
    samples = {sample["key"]: (sample["caption"], sample["captions"]) for sample in read(tmp_path / "dst")}
    assert samples == {
        "a": ("the cat", ["the cat", "a cat", "one cat"]),
        "b": ("only one", ["only one"]),
        "c": ("first", ["first", "second"]),
    }


def test_members_of_a_key_may_stand_apart_and_folders_are_part_of_the_key(tmp_path: Path) -> None:
    members = [
        ("x/1.jpg", image(1)), ("y/1.jpeg", image(2)), ("x/2.v1.JPG", image(3)), ("z/3.PNG", image(4, "PNG")),
        ("x/1.txt", "one"), ("y/1.txt", "two"), ("z/3.txt", "three"),
        ("x/._1.jpg", b"finder"), ("x/1.cls", "7"),
    ]  # fmt: skip
    convert(str(write_tar(tmp_path / "s.tar", members)), tmp_path / "dst", kind="tars", progress=False)
    assert {sample["key"]: sample["caption"] for sample in read(tmp_path / "dst")} == {
        "x/1": "one", "y/1": "two", "z/3": "three",
    }  # fmt: skip


def test_every_unusable_sample_is_counted_by_its_reason(tmp_path: Path) -> None:
    members = [
        *pairs(0, 1),
        ("a.jpg", b"<html>404</html>"), ("a.txt", "no image at all"),
        ("b.jpg", image(kind="JPEG")[:150]), ("b.txt", "cut short"),
        ("c.txt", "without image"),
        ("d.jpg", image()), ("d.txt", " \n"),
        ("e.jpg", image()),
        ("f.jpg", image()), ("f.json", "{broken"),
        ("g.jpg", image()), ("g.json", json.dumps({"caption": 7})),
        ("h.jpg", image()), ("h.txt", b"\xff\xfe not utf-8"),
        ("i.jpg", image()), ("i.json", '{"caption": "half \\ud83d"}'),
        ("j.jpg", image(1)), ("j.txt", "first"), ("j.jpg", image(2)), ("j.txt", "second"),
    ]  # fmt: skip
    manifest = convert(
        str(write_tar(tmp_path / "s.tar", members)), tmp_path / "dst", kind="tars", progress=False
    )
    assert manifest.rejects == {
        "duplicate key": 1,
        "empty caption": 1,
        "missing caption": 1,
        "missing image": 1,
        "truncated image": 1,
        "undecodable image": 1,
        "unreadable caption": 4,
    }
    assert [(sample["key"], sample["jpg"]) for sample in read(tmp_path / "dst")] == [
        ("000000", image(0)),
        ("j", image(1)),
    ]


@pytest.mark.parametrize("cut", ["in an image", "in the padding", "before the end mark"])
def test_a_truncated_tar_gives_what_stands_before_the_cut(tmp_path: Path, cut: str) -> None:
    tar = write_tar(tmp_path / "src" / "0.tar", pairs(0, 4))
    with tarfile.open(tar) as whole:
        last, text = whole.getmembers()[-2:]
    keep = {
        "in an image": last.offset_data + 20,
        "in the padding": text.offset_data + text.size + 1,
        "before the end mark": text.offset_data + 512,
    }[cut]
    tar.write_bytes(tar.read_bytes()[:keep])
    manifest = convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)
    assert manifest.rejects["truncated tar"] == 1
    assert manifest.num_samples == (3 if cut == "in an image" else 4)


def test_a_file_that_is_no_tar_is_counted_and_the_others_converted(tmp_path: Path) -> None:
    write_tar(tmp_path / "src" / "0.tar", pairs(0, 2))
    (tmp_path / "src" / "1.tar").write_bytes(b"<html>403 Forbidden</html>" * 100)
    (tmp_path / "src" / "2.tar").write_bytes(b"")
    manifest = convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)
    assert manifest.num_samples == 2 and manifest.rejects == {"unreadable tar": 2}
    assert len(read(tmp_path / "dst")) == 2


def test_the_manifest_tells_the_source_and_the_content(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "src" / "sub" / "0.tar", [*pairs(0, 2), ("x.txt", "no image")])
    convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)
    manifest = json.loads((tmp_path / "dst" / "manifest.json").read_text())
    assert manifest == {
        "num_samples": 2,
        "digest": IndexedDataset(tmp_path / "dst").digest,
        "rejects": {"missing image": 1},
        "kind": "tars",
        "decode_every": 1,
        "settings": {
            "resize": None,
            "quality": None,
            "min_side": None,
            "hashes": ["xxh64"],
            "compression": None,
            "shuffle_seed": None,
        },
        "parts": [
            {
                "source": "sub/0.tar",
                "source_bytes": tar.stat().st_size,
                "source_sha256": hashlib.sha256(tar.read_bytes()).hexdigest(),
                "num_samples": 2,
                "rejects": {"missing image": 1},
            }
        ],
    }


def test_of_a_large_source_every_header_is_read_some_images_are_decoded_and_all_that_look_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "SMALL_BYTES", 0)
    decoded: list[Any] = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (decoded.append(self), load(self))[1])
    padded = [("padded.jpg", image() + b"\0" * 40), ("padded.txt", "a camera's padding is no cut")]
    torn = [
        ("torn.jpg", image()[:-5]),
        ("torn.txt", "header is fine"),
        ("bad.jpg", b"no"),
        ("bad.txt", "not this"),
    ]
    tar = write_tar(tmp_path / "s.tar", [*pairs(0, conversion.DECODE_EVERY + 1), *padded, *torn])
    manifest = convert(str(tar), tmp_path / "dst", kind="tars", progress=False)
    assert manifest.rejects == {"truncated image": 1, "undecodable image": 1}
    assert manifest.num_samples == conversion.DECODE_EVERY + 2
    assert len(decoded) == 3, "the first, the seventeenth and the torn one"
    assert next(iter(manifest.sets.values())).decode_every == conversion.DECODE_EVERY


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        convert(str(tmp_path / "nowhere"), tmp_path / "dst", kind="tars")
    assert not (tmp_path / "dst").exists()


def test_a_source_without_tars_is_told_what_it_should_hold(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "0.tar.gz").touch()
    with pytest.raises(ValueError, match="holds no .tar file.*000000.jpg"):
        convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars")


def test_a_source_without_one_usable_sample_says_why(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "s.tar", [("a.jpg", image()), ("b.txt", "caption")])
    with pytest.raises(ValueError, match="not one usable image.*missing caption: 1, missing image: 1"):
        convert(str(tar), tmp_path / "dst", kind="tars", progress=False)


def test_real_tars_come_through_whole(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    source = shared_data("realpairs") / "val" / "00000.tar"
    shutil.copy(source, tmp_path)
    manifest = convert(str(tmp_path / "00000.tar"), tmp_path / "dst", kind="tars", progress=False)
    assert manifest.num_samples == 1_000 and manifest.rejects == {}
    sample = IndexedDataset(tmp_path / "dst")[123]
    with tarfile.open(source) as tar:
        described = json.load(tar.extractfile(f"{sample['key']}.json"))  # type: ignore[arg-type]
        assert sample["jpg"] == tar.extractfile(f"{sample['key']}.jpg").read()  # type: ignore[union-attr]
    assert sample["captions"] == described["captions"] and sample["caption"] == described["captions"][0]
    assert set(sample) == {*IMAGE_TEXT_COLUMNS, "captions"}
