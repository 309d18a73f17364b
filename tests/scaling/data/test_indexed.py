"""Samples by index, the digest of their content, and shards that are found damaged before they are used."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.data import verified_shards
from scaling.data.indexed import IndexedDataset
from scaling.data.shards import IMAGE_TEXT_COLUMNS, write_shards
from scaling.data.verified_shards import STAMP, preflight
from scaling.records import WriteError

SAMPLES = [
    {"jpg": bytes([number] * 200), "caption": f"number {number}", "key": f"{number:03d}"}
    for number in range(20)
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mds") / "set"
    write_shards(folder, IMAGE_TEXT_COLUMNS, SAMPLES, size_limit=1_500)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_samples_come_back_by_index_across_shards(folder: Path) -> None:
    dataset = IndexedDataset(folder)
    assert len(list(folder.glob("*.mds"))) > 3
    assert len(dataset) == 20
    assert [dataset[index] for index in (19, 0, 7)] == [SAMPLES[19], SAMPLES[0], SAMPLES[7]]
    assert list(dataset) == SAMPLES


@pytest.mark.parametrize("index", [-1, 20])
def test_an_index_outside_the_set_is_an_index_error(folder: Path, index: int) -> None:
    with pytest.raises(IndexError, match="there are 20"):
        IndexedDataset(folder)[index]


def test_a_dataset_survives_the_way_to_another_process(folder: Path) -> None:
    dataset = IndexedDataset(folder)
    assert dataset[3] == SAMPLES[3]
    assert pickle.loads(pickle.dumps(dataset))[4] == SAMPLES[4]


def test_the_digest_is_of_the_content_and_not_of_the_place(
    folder: Path, written: Path, tmp_path: Path
) -> None:
    write_shards(tmp_path / "other", IMAGE_TEXT_COLUMNS, SAMPLES[:-1], size_limit=1_500)
    digests = [IndexedDataset(path).digest for path in (folder, written, tmp_path / "other")]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("state", ["missing", "empty", "without samples"])
def test_a_folder_without_data_is_an_error_that_names_the_two_commands(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "data"
    if state != "missing":
        folder.mkdir()
    if state == "without samples":
        (folder / "index.json").write_text('{"version": 2, "shards": []}')
    with pytest.raises(ValueError, match=f"{folder}.*scaling data convert SRC DST.*scaling data render DST"):
        IndexedDataset(folder)


def test_a_compressed_set_is_refused_by_name(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    first = index["shards"][0]
    first["zip_data"] = {**first["raw_data"], "basename": first["raw_data"]["basename"] + ".zstd"}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / first["zip_data"]["basename"]).touch()
    with pytest.raises(ValueError, match="shard.00000.mds.zstd is compressed"):
        IndexedDataset(folder)


def test_a_shard_cut_short_is_named_when_read(folder: Path) -> None:
    dataset = IndexedDataset(folder)
    os.truncate(folder / "shard.00001.mds", 100)
    with pytest.raises(ValueError, match="shard.00001.mds"):
        list(dataset)


def test_preflight_reads_every_byte_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = preflight(folder)
    assert first.hashes == "verified"
    assert first.num_bytes == sum(shard.stat().st_size for shard in folder.glob("*.mds"))
    monkeypatch.setattr(verified_shards, "_check_hash", lambda *_: pytest.fail("read again"))
    assert preflight(folder).hashes == "verified before"


def test_preflight_names_a_shard_whose_bytes_changed(folder: Path) -> None:
    shard = folder / "shard.00002.mds"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="shard.00002.mds is damaged: its xxh64"):
        preflight(folder)


def test_preflight_looks_again_at_a_shard_rewritten_after_it_was_verified(folder: Path) -> None:
    preflight(folder)
    shard = folder / "shard.00000.mds"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(0, shard.stat().st_mtime_ns + 1))
    with pytest.raises(ValueError, match="shard.00000.mds is damaged"):
        preflight(folder)


def test_preflight_names_a_shard_of_the_wrong_size_without_reading_it(folder: Path) -> None:
    with open(folder / "shard.00001.mds", "ab") as shard:
        shard.write(b"x")
    with pytest.raises(ValueError, match="shard.00001.mds is damaged: .* bytes, its index says"):
        preflight(folder, hashes=False)


def test_preflight_names_a_missing_shard(folder: Path) -> None:
    (folder / "shard.00001.mds").unlink()
    with pytest.raises(ValueError, match="shard.00001.mds .*missing"):
        preflight(folder)


def test_preflight_says_why_it_could_not_verify(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["shards"][1]["raw_data"]["hashes"] = {}
    (folder / "index.json").write_text(json.dumps(index))
    found = preflight(folder)
    assert (found.hashes, found.reason) == ("not verified", "index.json holds no xxh64 of shard.00001.mds")
    assert not (folder / STAMP).exists()


def test_preflight_verifies_a_read_only_set_and_says_that_no_stamp_was_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise WriteError(f"{path}: not written (Read-only file system)")

    monkeypatch.setattr(verified_shards, "write_atomically", refuse)
    found = preflight(folder)
    assert found.hashes == "verified" and "Read-only" in found.reason


def test_an_index_is_read_without_loading_torch(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from scaling.data.indexed import IndexedDataset;"
        "from scaling.data.verified_shards import preflight;"
        f"preflight(Path({str(folder)!r})); print(len(IndexedDataset(Path({str(folder)!r}))));"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
