"""A check names everything that is wrong with a copy of a data set, and shows what is in a good one."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from scaling.data.checking.check import check_set, find_sets
from scaling.data.checking.command import check
from scaling.data.conversion.convert import convert
from scaling.data.conversion.settings import ConversionSettings
from scaling.data.shards import IMAGE_TEXT_COLUMNS, merge_indexes, write_shards
from scaling.data.verified_shards import preflight

NUM_SAMPLES = 30


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20 + number, 16), (number * 8, 100, 0)).save(stream, "JPEG")
    return stream.getvalue()


def rows(count: int = NUM_SAMPLES) -> list[dict[str, Any]]:
    return [
        {"jpg": picture(number), "caption": f"number {number}", "key": f"{number:03d}"}
        for number in range(count)
    ]


def write(folder: Path, samples: list[dict[str, Any]], columns: dict[str, str] = IMAGE_TEXT_COLUMNS) -> Path:
    """An MDS folder of one part with a few samples a shard."""
    write_shards(folder / "part-00000", columns, samples, size_limit=5_000)
    merge_indexes(folder, [folder / "part-00000"])
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = write(tmp_path / "set", rows())
    assert len(list(made.rglob("*.mds"))) >= 4
    return made


def shard(folder: Path, number: int) -> Path:
    return folder / "part-00000" / f"shard.{number:05d}.mds"


def edit_index(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    index = json.loads((folder / "index.json").read_text())
    change(index["shards"])
    (folder / "index.json").write_text(json.dumps(index))


def flip_a_byte(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def damages(folder: Path, **options: Any) -> list[str]:
    return check_set(folder, progress=False, **options).damages


def test_a_whole_set_has_no_damage_and_is_described(folder: Path) -> None:
    found = check_set(folder, decode=1.0, progress=False)
    assert found.damages == [] and found.remarks == []
    assert (found.num_samples, found.num_hashed, len(found.sizes)) == (30, found.num_shards, 30)
    assert found.sizes[7] == (27, 16) and found.caption_lengths[7] == len("number 7")
    assert preflight(folder).hashes == "verified before", "a run need not read it all again"


@pytest.mark.parametrize("share, expected", [(0.0, 0), (0.01, 1), (0.1, 3), (0.5, 15), (1.0, 30)])
def test_the_stated_share_of_the_images_is_decoded(share: float, expected: int, folder: Path) -> None:
    assert len(check_set(folder, decode=share, progress=False).sizes) == expected


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(share: float, folder: Path) -> None:
    with pytest.raises(ValueError, match="must be a share"):
        check_set(folder, decode=share, progress=False)


def test_every_damage_is_named_and_not_only_the_first(folder: Path) -> None:
    shard(folder, 0).unlink()
    shard(folder, 1).write_bytes(shard(folder, 1).read_bytes()[:-7])
    flip_a_byte(shard(folder, 2))
    edit_index(folder, lambda shards: shards[3].update(samples=shards[3]["samples"] + 2))
    (folder / "part-00000" / "shard.00099.mds").write_bytes(b"left over")
    found = damages(folder)
    assert len(found) == 5
    for number, told in enumerate(["is missing", "its index says", "xxh64 is", "samples, its index says"]):
        assert [damage for damage in found if f"shard.{number:05d}.mds" in damage and told in damage], told
    assert any("shard.00099.mds is not listed" in damage for damage in found)
    assert not (folder / ".verified.json").exists()


def test_threads_find_what_one_finds(folder: Path) -> None:
    flip_a_byte(shard(folder, 0))
    flip_a_byte(shard(folder, 2), place=500)
    assert damages(folder, workers=3, decode=1.0) == damages(folder, decode=1.0) != []


def test_a_second_hash_is_compared_too(tmp_path: Path) -> None:
    made = tmp_path / "set"
    write_shards(made / "part-00000", IMAGE_TEXT_COLUMNS, rows(), size_limit=5_000, hashes=("sha1", "xxh64"))
    merge_indexes(made, [made / "part-00000"])
    assert damages(made) == []
    edit_index(made, lambda shards: shards[0]["raw_data"]["hashes"].update(sha1="0" * 40))
    [damage] = damages(made)
    assert "sha1 is" in damage


def test_shards_without_hashes_are_remarked_on_and_leave_no_stamp(folder: Path) -> None:
    edit_index(folder, lambda shards: shards[0]["raw_data"].update(hashes={}))
    found = check_set(folder, progress=False)
    assert found.damages == [] and "no hash" in found.remarks[0]
    assert found.num_hashed == found.num_shards - 1 and not (folder / ".verified.json").exists()


def test_a_table_of_offsets_that_lies_is_found_without_hashes(folder: Path) -> None:
    edit_index(folder, lambda shards: shards[0]["raw_data"].update(hashes={}))
    flip_a_byte(shard(folder, 0), place=6)  # the first offset, 65,536 too far
    [damage] = damages(folder)
    assert "its table of samples does not fit" in damage


def test_images_that_do_not_decode_are_named_by_key_and_place(tmp_path: Path) -> None:
    samples = rows()
    samples[17]["jpg"] = samples[17]["jpg"][:300]
    made = write(tmp_path / "set", samples)
    assert damages(made, decode=0.0) == []
    [damage] = damages(made, decode=1.0)
    assert "(17)" in damage and "'017'" in damage and "no picture" in damage


def test_a_set_of_other_columns_is_said_to_be_none_of_ours(tmp_path: Path) -> None:
    made = write(tmp_path / "set", [{"x": "1"}], {"x": "str"})
    [damage] = damages(made, decode=1.0)
    assert "has no column 'jpg'" in damage


def test_captions_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    made = write(tmp_path / "set", [*rows(2), {**rows(1)[0], "caption": b"\xff\xfe"}])
    [damage] = damages(made, decode=1.0)
    assert "cannot be read (UnicodeDecodeError" in damage


@pytest.mark.parametrize(
    "text", ["", "{}", '{"shards": 3}', '{"shards": [{"samples": 4}]}', '{"shards": [7]}']
)
def test_a_broken_index_is_a_damage(text: str, folder: Path) -> None:
    (folder / "index.json").write_text(text)
    assert any("index.json" in damage for damage in damages(folder))


def test_an_index_that_lost_shards_disagrees_with_the_manifest(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for number in range(3):
        (source / f"{number}.jpg").write_bytes(picture(number))
        (source / f"{number}.txt").write_text("a caption")
    convert(str(source), tmp_path / "dst", progress=False)
    assert damages(tmp_path / "dst") == []
    (tmp_path / "dst" / "part-00001").mkdir()
    edit_index(tmp_path / "dst", lambda shards: shards[0].update(samples=2))
    found = damages(tmp_path / "dst")
    assert any("counts 2 samples, manifest.json 3" in damage for damage in found)
    assert any("holds 3 samples, its index says 2" in damage for damage in found)


def test_labels_without_a_class_name_are_found(tmp_path: Path) -> None:
    samples = [{**row, "label": label} for row, label in zip(rows(3), (0, 1, 2))]
    import numpy as np

    for sample in samples:
        sample["label"] = np.int32(sample["label"])
    write(tmp_path / "set" / "train", samples, {**IMAGE_TEXT_COLUMNS, "label": "int32"})
    (tmp_path / "set" / "classnames.txt").write_text("cat\ndog\n")
    [damage] = damages(tmp_path / "set" / "train", decode=1.0)
    assert "has the label 2, classnames.txt names 2 classes" in damage


def test_compressed_sets_are_verified_and_read(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for number in range(3):
        (source / f"{number}.jpg").write_bytes(picture(number))
        (source / f"{number}.txt").write_text("a caption")
    settings = ConversionSettings(compression="zstd")
    convert(str(source), tmp_path / "dst", settings=settings, progress=False)
    found = check_set(tmp_path / "dst", decode=1.0, progress=False)
    assert found.damages == [] and sorted(found.sizes) == [(20, 16), (21, 16), (22, 16)]
    flip_a_byte(next((tmp_path / "dst").rglob("*.zstd")))
    assert "xxh64 is" in damages(tmp_path / "dst")[0]


def test_sets_are_found_below_a_folder_and_parts_are_not_taken_for_sets(tmp_path: Path) -> None:
    for name in ("train", "labelled/test"):
        write(tmp_path / "root" / name, rows(2))
    assert find_sets(tmp_path / "root") == [
        tmp_path / "root" / "labelled" / "test",
        tmp_path / "root" / "train",
    ]
    assert find_sets(tmp_path / "root" / "train") == [tmp_path / "root" / "train"]
    with pytest.raises(ValueError, match="nowhere does not exist.*scaling data convert"):
        find_sets(tmp_path / "nowhere")


def test_the_command_ends_with_1_for_a_damaged_set_and_with_0_for_a_whole_one(folder: Path) -> None:
    from scaling.cli import app

    done = CliRunner().invoke(app, ["data", "check", str(folder)])
    assert done.exit_code == 0 and "30 samples in" in done.output
    flip_a_byte(shard(folder, 1))
    flip_a_byte(shard(folder, 3))
    done = CliRunner().invoke(app, ["data", "check", str(folder)])
    assert done.exit_code == 1
    assert "shard.00001.mds" in done.output and "shard.00003.mds" in done.output


def test_examples_are_drawn_on_one_picture_with_a_cross_for_a_broken_one(tmp_path: Path) -> None:
    samples = rows(8)
    samples[7].update(jpg=b"no picture", caption="日本語 and a very long caption " * 20)
    made = write(tmp_path / "set", samples)
    console = Console(file=io.StringIO(), width=120)
    sheet = tmp_path / "sheet.png"
    check(made, decode=0.0, examples=sheet, workers=1, console=console, progress=False)
    with Image.open(sheet) as drawn:
        assert drawn.size[0] > 6 * 160 and drawn.size[1] > 2 * 160
        colours = {colour for _, colour in drawn.convert("RGB").getcolors(1 << 24) or []}
    assert (255, 0, 0) in colours and (255, 255, 255) in colours
    assert "8 examples" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_damaged_copy_of_real_data_is_seen_through(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    tar = shared_data("realpairs") / "val" / "00000.tar"
    convert(str(tar), tmp_path / "dst", progress=False)
    found = check_set(tmp_path / "dst", decode=0.05, progress=False)
    assert found.damages == [] and len(found.sizes) == 50 and set(found.sizes) == {(128, 128)}
    shards = sorted((tmp_path / "dst").rglob("*.mds"))
    flip_a_byte(shards[2], place=5_000)
    assert len(damages(tmp_path / "dst")) == 1
    with tarfile.open(tar) as opened:
        assert len([one for one in opened if one.name.endswith(".jpg")]) == found.num_samples
