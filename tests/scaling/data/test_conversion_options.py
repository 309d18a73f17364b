"""The options of a conversion reach the shards, and parts made with others are not continued."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scaling.data.conversion import shuffled_sets
from scaling.data.conversion.convert import convert
from scaling.data.conversion.settings import ConversionSettings
from scaling.data.conversion.shuffled_sets import UNSHUFFLED
from scaling.data.indexed import IndexedDataset
from scaling.data.manifest import read_set_manifest
from scaling.data.verified_shards import preflight

NUM_SAMPLES = 40


def write_pairs(folder: Path, count: int = NUM_SAMPLES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        stream = io.BytesIO()
        Image.new("RGB", (12 + number, 12), (number, 0, 0)).save(stream, "JPEG")
        (folder / f"{number:03d}.jpg").write_bytes(stream.getvalue())
        (folder / f"{number:03d}.txt").write_text(f"caption {number}")
    return folder


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty captioned images, in groups of seven."""
    from scaling.data.conversion import caption_folders

    monkeypatch.setattr(caption_folders, "FILES_PER_GROUP", 7)
    return write_pairs(tmp_path / "src")


def shuffled(source: Path, destination: Path, seed: int = 0, **options: Any) -> list[dict[str, Any]]:
    convert(
        str(source), destination, settings=ConversionSettings(shuffle_seed=seed, **options), progress=False
    )
    return list(IndexedDataset(destination))


def index(folder: Path) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = json.loads((folder / "index.json").read_text())["shards"]
    return shards


def test_small_and_large_images_are_left_out_or_shrunk(pairs: Path, tmp_path: Path) -> None:
    settings = ConversionSettings(resize=10, min_side=12, quality=90)
    manifest = convert(str(pairs), tmp_path / "dst", settings=settings, progress=False)
    assert manifest.num_samples == NUM_SAMPLES
    assert {min(Image.open(io.BytesIO(one["jpg"])).size) for one in IndexedDataset(tmp_path / "dst")} == {10}
    none = ConversionSettings(min_side=13)
    with pytest.raises(ValueError, match="not one usable image.*too small: 40"):
        convert(str(pairs), tmp_path / "none", settings=none, progress=False)


def test_shards_carry_the_hashes_that_were_asked_for(pairs: Path, tmp_path: Path) -> None:
    settings = ConversionSettings(hashes=("sha1", "xxh64"))
    convert(str(pairs), tmp_path / "dst", settings=settings, progress=False)
    assert all(set(shard["raw_data"]["hashes"]) == {"sha1", "xxh64"} for shard in index(tmp_path / "dst"))
    assert preflight(tmp_path / "dst").hashes == "verified"


def test_training_sets_are_compressed_and_validation_sets_are_not(tmp_path: Path) -> None:
    write_pairs(tmp_path / "src" / "train", 3)
    write_pairs(tmp_path / "src" / "val", 2)
    settings = ConversionSettings(compression="zstd")
    convert(str(tmp_path / "src"), tmp_path / "dst", kind="images", settings=settings, progress=False)
    [shard] = index(tmp_path / "dst" / "train")
    assert shard["zip_data"]["basename"] == "part-00000/shard.00000.mds.zstd"
    assert (tmp_path / "dst" / "train" / shard["zip_data"]["basename"]).is_file()
    assert preflight(tmp_path / "dst" / "train").hashes == "verified"
    assert len(IndexedDataset(tmp_path / "dst" / "validation")) == 2


@pytest.mark.parametrize(
    "first, second",
    [
        (ConversionSettings(), ConversionSettings(resize=5)),
        (ConversionSettings(), ConversionSettings(shuffle_seed=0)),
        (ConversionSettings(shuffle_seed=0), ConversionSettings(shuffle_seed=1)),
        (ConversionSettings(shuffle_seed=0), ConversionSettings()),
    ],
)
def test_a_set_made_with_other_settings_is_not_mixed_with(
    first: ConversionSettings, second: ConversionSettings, pairs: Path, tmp_path: Path
) -> None:
    convert(str(pairs), tmp_path / "dst", settings=first, progress=False)
    before = (tmp_path / "dst" / "index.json").read_bytes()
    with pytest.raises(ValueError, match="convert (it )?to an empty folder"):
        convert(str(pairs), tmp_path / "dst", settings=second, progress=False)
    assert (tmp_path / "dst" / "index.json").read_bytes() == before


def test_a_shuffled_set_holds_every_sample_once_in_an_order_that_the_seed_decides(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffled_sets, "SAMPLES_PER_PART", 16)
    convert(str(pairs), tmp_path / "plain", progress=False)
    plain = list(IndexedDataset(tmp_path / "plain"))
    made = shuffled(pairs, tmp_path / "dst")
    assert sorted(made, key=lambda one: str(one["key"])) == plain and made != plain
    assert [one["key"] for one in made] == [plain[i]["key"] for i in np.random.default_rng(0).permutation(40)]
    assert shuffled(pairs, tmp_path / "again") == made != shuffled(pairs, tmp_path / "other", seed=1)
    assert [path.name for path in sorted((tmp_path / "dst").glob("*"))] == [
        "index.json", "manifest.json", "part-00000", "part-00001", "part-00002",
    ]  # fmt: skip
    assert not (tmp_path / "dst" / UNSHUFFLED).exists()


def test_the_first_shards_of_a_shuffled_set_draw_from_all_of_the_source(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffled_sets, "SAMPLES_PER_PART", 10)
    first = {int(one["key"]) // 10 for one in shuffled(pairs, tmp_path / "dst")[:10]}
    assert len(first) == 4, "ten samples come from all four quarters"


def test_a_shuffled_sets_manifest_still_accounts_for_every_source(pairs: Path, tmp_path: Path) -> None:
    (pairs / "000.jpg").write_bytes(b"broken")
    shuffled(pairs, tmp_path / "dst")
    manifest = read_set_manifest(tmp_path / "dst")
    assert manifest is not None and manifest.num_samples == NUM_SAMPLES - 1
    assert manifest.rejects == {"undecodable image": 1} and len(manifest.parts) == 6
    assert manifest.digest == IndexedDataset(tmp_path / "dst").digest and manifest.settings.shuffle_seed == 0


def test_an_interrupted_shuffle_goes_on_to_the_same_set(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffled_sets, "SAMPLES_PER_PART", 16)
    whole = shuffled(pairs, tmp_path / "whole")
    write, written = shuffled_sets._write_shuffled, []

    def stop_at_the_second(job: Any) -> Any:
        if written:
            raise KeyboardInterrupt
        written.append(job)
        return write(job)

    with monkeypatch.context() as patch:
        patch.setattr(shuffled_sets, "_write_shuffled", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            shuffled(pairs, tmp_path / "dst")
    kept = (tmp_path / "dst" / "part-00000" / "index.json").stat().st_mtime_ns
    assert shuffled(pairs, tmp_path / "dst") == whole
    assert (tmp_path / "dst" / "part-00000" / "index.json").stat().st_mtime_ns == kept, "not made again"
    assert shuffled(pairs, tmp_path / "dst") == whole, "a finished one is left as it is"


def test_samples_with_one_and_with_several_captions_can_be_shuffled_together(
    pairs: Path, tmp_path: Path
) -> None:
    (pairs / "039.json").write_text('{"captions": ["caption 39", "another"]}')
    (pairs / "039.txt").unlink()
    made = {one["key"]: one["captions"] for one in shuffled(pairs, tmp_path / "dst")}
    assert made["039"] == ["caption 39", "another"] and made["000"] == ["caption 0"]


def test_a_changed_source_of_a_shuffled_set_is_refused(pairs: Path, tmp_path: Path) -> None:
    shuffled(pairs, tmp_path / "dst")
    (pairs / "040.jpg").write_bytes(b"new")
    with pytest.raises(ValueError, match="made from another source"):
        shuffled(pairs, tmp_path / "dst")


def test_the_bar_tells_parts_and_samples_per_second(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(str(pairs), tmp_path / "dst", progress=True)
    shown = capsys.readouterr()
    assert "6/6" in shown.err and "samples/s" in shown.err and shown.out == ""
