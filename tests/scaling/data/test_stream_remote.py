"""Remote sources: fetched, verified, kept within a limit. A second folder stands in for an object store."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stream_children import Reading, ids, in_children, lie, open_stream, read, settings_of, write_set
from streaming.base.storage.download import DOWNLOADER_MAPPINGS, LocalDownloader

from scaling.data.stream.shard_files import DamagedShard
from scaling.data.stream.sources import StreamSource
from scaling.data.stream.training_stream import StreamSettings

CAPTIONS = [f"caption {number}" for number in range(96)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_set(tmp_path / "store", CAPTIONS)


def _settings(tmp_path: Path, remote: object, **others: Any) -> StreamSettings:
    return settings_of(StreamSource(local=tmp_path / "cache", remote=str(remote)), **others)


def _cached(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()}


def _held(folder: Path) -> int:
    """Bytes of the files that stand there, of which some may go while they are looked at."""
    held = 0
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            held += (folder / name).stat().st_size
    return held


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_remote_set_gives_the_batches_of_a_local_one(
    store: Path, tmp_path: Path, scheme: str, workers: int
) -> None:
    expected = read(Reading(settings=settings_of(store), stop=6), tmp_path / "x")
    reading = Reading(settings=_settings(tmp_path, f"{scheme}{store}"), stop=6, workers=workers)
    assert read(reading, tmp_path / "y") == expected
    shards = {path.name: path.read_bytes() for path in store.glob("*.mds")}
    assert _cached(tmp_path) == shards, "and nothing else is kept"


def test_ranks_share_a_cache_and_a_resume_reads_from_it(store: Path, tmp_path: Path) -> None:
    reading = Reading(settings=_settings(tmp_path, store), stop=6, ranks=2, workers=1)
    expected = read(reading, tmp_path / "x")
    for path in store.glob("*.mds"):
        path.unlink()  # the index is asked for again, no shard
    resumed = Reading(settings=_settings(tmp_path, store), start=2, stop=6)
    assert read(resumed, tmp_path / "y") == expected[2:]


def test_a_budget_fetches_its_own_shards_only(store: Path, tmp_path: Path) -> None:
    read(Reading(settings=_settings(tmp_path, store, unique_samples=20, global_batch=8)), tmp_path / "x")
    assert sorted(_cached(tmp_path)) == ["shard.00000.mds", "shard.00001.mds", "shard.00002.mds"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_file_in_the_cache_is_fetched_again(store: Path, tmp_path: Path, workers: int) -> None:
    """As it comes, the second run reads it in silence."""
    reading = Reading(settings=_settings(tmp_path, store), workers=workers)
    expected = read(reading, tmp_path / "x")
    for name in ("shard.00000.mds", "shard.00005.mds"):
        _flip(tmp_path / "cache" / name)
    assert read(reading, tmp_path / "y") == expected
    assert _cached(tmp_path) == {path.name: path.read_bytes() for path in store.glob("*.mds")}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_is_corrupt_in_the_store_is_an_error_with_its_hash_and_is_not_kept(
    store: Path, tmp_path: Path, workers: int
) -> None:
    _flip(store / "shard.00003.mds")
    expected = json.loads((store / "index.json").read_text())["shards"][3]["raw_data"]["hashes"]["xxh64"]
    with pytest.raises(
        DamagedShard, match=rf"shard.00003.mds is damaged, also .* its xxh64 is .* says {expected}"
    ):
        read(Reading(settings=_settings(tmp_path, store), workers=workers), tmp_path / "x", timeout=20)
    assert "shard.00003.mds" not in _cached(tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_is_missing_in_the_store_is_an_error_that_names_it(
    store: Path, tmp_path: Path, workers: int
) -> None:
    (store / "shard.00002.mds").unlink()
    with pytest.raises(DamagedShard, match="store/shard.00002.mds cannot be fetched: FileNotFoundError"):
        read(Reading(settings=_settings(tmp_path, store), workers=workers), tmp_path / "x", timeout=20)


class _Strange(LocalDownloader):  # type: ignore[misc]
    """A store whose ways depend on the name of the file: strange:///folder."""

    silent: set[str] = set()  # never comes
    refused_once: set[str] = set()
    damaged_once: set[str] = set()
    seconds = 0.0  # that each takes, at least
    log: Path | None = None  # of the bytes that stand in the folder whenever one has come
    asked: Counter[str] = Counter()

    @staticmethod
    def _client_identifier() -> str:
        return "strange"

    def _download_file_impl(self, remote: str, local: str, timeout: float) -> None:
        name = Path(remote).name
        self.asked[name] += 1
        if name in self.silent:
            time.sleep(3600)
        if name in self.refused_once and self.asked[name] == 1:
            raise ConnectionError("try again")
        time.sleep(self.seconds)
        super()._download_file_impl(remote.removeprefix("strange://"), local, timeout)
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{_held(Path(local).parent)}\n")
        if name in self.damaged_once and self.asked[name] == 1:
            _flip(Path(local))


@pytest.fixture
def strange(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(DOWNLOADER_MAPPINGS, "strange", _Strange)
    yield f"strange://{store}"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_that_does_not_answer_is_an_error_that_names_the_shard(
    strange: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(_Strange, "silent", {"shard.00001.mds"})
    settings = _settings(tmp_path, strange, worker_timeout_seconds=3)
    with pytest.raises(
        DamagedShard, match="shard.00001.mds cannot be fetched: .* no answer within 1 seconds"
    ):
        read(Reading(settings=settings, workers=workers), tmp_path / "x", timeout=20)


def test_an_index_that_does_not_come_is_an_error(
    strange: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Strange, "silent", {"index.json"})
    settings = _settings(tmp_path, strange, worker_timeout_seconds=3)
    with pytest.raises(ValueError, match="store/index.json cannot be fetched: .* no answer within 1 seconds"):
        in_children(open_stream, Reading(settings=settings), scratch=tmp_path / "x")


def test_a_store_that_refuses_once_or_sends_damage_once_is_asked_again(
    strange: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Strange, "refused_once", {"shard.00004.mds"})
    monkeypatch.setattr(_Strange, "damaged_once", {"shard.00006.mds"})
    expected = read(Reading(settings=settings_of(store)), tmp_path / "x")
    assert read(Reading(settings=_settings(tmp_path, strange)), tmp_path / "y") == expected


def test_a_cache_stays_within_its_limit_also_of_what_an_earlier_run_left(store: Path, tmp_path: Path) -> None:
    size = max(path.stat().st_size for path in store.glob("*.mds"))
    expected = read(Reading(settings=_settings(tmp_path, store), stop=8), tmp_path / "x")
    assert len(_cached(tmp_path)) == len(list(store.glob("*.mds"))), "all are there"
    limit = 5 * size

    def watched() -> list[tuple[list[int], int]]:
        stream = open_stream(Reading(settings=_settings(tmp_path, store, cache_limit=limit)))
        return [
            (sorted(batch.sample_ids_B.tolist()), _held(tmp_path / "cache")) for batch in stream.batches(0, 8)
        ]

    seen = in_children(watched, scratch=tmp_path / "y")[0]
    assert [batch for batch, _ in seen] == ids(expected)
    assert max(size for _, size in seen[1:]) <= limit


def test_shards_under_way_at_once_stand_within_the_limit_too(
    strange: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it comes, streaming counts a shard when it has come, and each worker fetches one at the same time."""
    monkeypatch.setattr(_Strange, "seconds", 0.05)
    monkeypatch.setattr(_Strange, "log", tmp_path / "held.txt")
    limit = 5 * max(path.stat().st_size for path in store.glob("*.mds"))
    settings = _settings(tmp_path, strange, cache_limit=limit)
    assert len(read(Reading(settings=settings, stop=8, workers=2), tmp_path / "x")) == 8
    held = [int(line) for line in (tmp_path / "held.txt").read_text().split()]
    assert len(held) > len(list(store.glob("*.mds"))), "some were fetched twice, as all do not fit together"
    assert max(held) <= limit


def test_a_limit_of_the_cache_never_deletes_from_a_set_that_stands_in_place(
    store: Path, tmp_path: Path
) -> None:
    """As it comes, streaming evicts shards of every stream, and so the user's own."""
    here = write_set(tmp_path / "here", [f"here {number}" for number in range(96)])
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    size = max(path.stat().st_size for path in store.glob("*.mds"))
    sources = (StreamSource(local=here), StreamSource(local=tmp_path / "cache", remote=str(store)))
    settings = settings_of(*sources, cache_limit=5 * size)
    assert len(read(Reading(settings=settings, stop=16, workers=1), tmp_path / "x")) == 16
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before
    assert _held(tmp_path / "cache") <= 5 * size


def test_a_limit_too_low_for_the_cache_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at-least four times the largest shard size"):
        in_children(
            open_stream,
            Reading(settings=_settings(tmp_path, store, cache_limit=20_000)),
            scratch=tmp_path / "x",
        )


def test_compressed_shards_are_unpacked_into_the_cache_and_never_into_the_set(tmp_path: Path) -> None:
    packed = write_set(tmp_path / "packed", CAPTIONS, compression="zstd")
    plain = write_set(tmp_path / "plain", CAPTIONS)
    expected = ids(read(Reading(settings=settings_of(plain), stop=6), tmp_path / "w"))
    reading = Reading(settings=_settings(tmp_path, packed), stop=6, workers=1)
    assert ids(read(reading, tmp_path / "x")) == expected
    assert _cached(tmp_path).keys() == {path.name for path in plain.glob("*.mds")}
    assert ids(read(reading, tmp_path / "y")) == expected, "from the cache"
    _flip(packed / "shard.00003.mds.zstd")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(DamagedShard, match="shard.00003.mds is damaged"):
        read(reading, tmp_path / "z", timeout=20)
    with pytest.raises(ValueError, match="is compressed, and would be unpacked into the data set"):
        in_children(open_stream, Reading(settings=settings_of(packed)), scratch=tmp_path / "v")


def test_an_index_of_the_store_that_lies_is_found_when_its_shard_comes(store: Path, tmp_path: Path) -> None:
    count = json.loads((store / "index.json").read_text())["shards"][0]["samples"]
    lie(store, 0, samples=count - 1)
    with pytest.raises(DamagedShard, match=f"{count} samples, its index says {count - 1}"):
        read(Reading(settings=_settings(tmp_path, store)), tmp_path / "x", timeout=20)


@pytest.mark.parametrize(
    ("remote", "message"),
    [
        ("ftp://host/set", r"ftp://host/set: no such remote is known; use file://, .*s3://"),
        ("/nowhere/set", "/nowhere/set/index.json cannot be fetched: FileNotFoundError"),
    ],
)
def test_a_remote_that_cannot_be_asked_is_refused(tmp_path: Path, remote: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        in_children(open_stream, Reading(settings=_settings(tmp_path, remote)), scratch=tmp_path / "x")


def test_a_changed_store_is_seen_by_the_next_run(store: Path, tmp_path: Path) -> None:
    """The index is asked for each time; a shard that no longer is what it says is fetched again."""
    reading = Reading(settings=_settings(tmp_path, store))
    read(reading, tmp_path / "x")
    shutil.rmtree(store)
    write_set(store, [f"different {number}" for number in range(96)])
    assert read(reading, tmp_path / "x") == read(Reading(settings=settings_of(store)), tmp_path / "y")
