"""What goes wrong with StreamingDataset 0.13 as it comes, each once.

Those of them that other modules answer for are tested there: hashes of local shards in test_indexed, bad images in
test_bad_images, leftovers of killed jobs in test_residue, the launcher's environment in test_ranks.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
from stream_children import Reading, ids, in_children, lie, open_stream, read, settings_of, write_set

from scaling.data.rendering.drawing import draw_scene, encode_jpeg
from scaling.data.rendering.scenes import sample_scene
from scaling.data.shards import IMAGE_TEXT_COLUMNS, merge_indexes, write_shards
from scaling.data.stream.machine_lock import one_at_a_time_on_this_machine
from scaling.data.stream.ordered_samples import OrderedSamples
from scaling.data.stream.shard_files import DamagedShard
from scaling.data.stream.training_stream import DataExhausted
from scaling.processes.residue import SHARED_MEMORY, note_streaming_segments, remove_streaming_segments
from scaling.train.entry import _leave_shared_memory_to_parent

CAPTIONS = [f"caption {number}" for number in range(96)]


def test_without_local_world_size_many_ranks_are_refused(tmp_path: Path) -> None:
    """DeepSpeed's launcher does not set it; every rank would believe itself alone on its machine."""
    folder = write_set(tmp_path / "set", CAPTIONS)

    def start() -> None:
        del os.environ["LOCAL_WORLD_SIZE"]
        open_stream(Reading(settings=settings_of(folder), ranks=2))

    with pytest.raises(ValueError, match="LOCAL_WORLD_SIZE not set, for 2 ranks"):
        in_children(start, ranks=2, scratch=tmp_path / "x")


def test_a_world_size_that_is_not_the_launched_one_is_refused(tmp_path: Path) -> None:
    """All ranks would be given the same samples."""
    folder = write_set(tmp_path / "set", CAPTIONS)
    with pytest.raises(ValueError, match="WORLD_SIZE is 1 .* for 2 ranks"):
        in_children(open_stream, Reading(settings=settings_of(folder), ranks=2), scratch=tmp_path / "x")


def test_jobs_that_start_together_on_one_machine_do_not_collide(tmp_path: Path) -> None:
    """Eight at once, each with a temporary folder of its own."""
    folder = write_set(tmp_path / "set", CAPTIONS)
    together = multiprocessing.get_context("fork").Barrier(8)

    def job() -> int:
        place = tmp_path / f"job-{os.environ['RANK']}"
        place.mkdir()
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1", TMPDIR=str(place))
        tempfile.tempdir = None
        together.wait(20)
        stream = open_stream(Reading(settings=settings_of(folder)))
        together.wait(20)  # all are alive at once
        return stream.shared_memory_prefix

    prefixes = in_children(job, ranks=8, scratch=tmp_path / "x", joined=False)
    assert len(set(prefixes)) == 8


def test_the_lock_of_the_machine_is_waited_for_also_where_its_file_cannot_be_written(tmp_path: Path) -> None:
    """Another user's file can be locked, since reading it is enough."""
    lock, order = tmp_path / "lock", []
    with one_at_a_time_on_this_machine(True, lambda: None, lock):
        assert lock.stat().st_mode & 0o777 == 0o644

        def second() -> float:
            with one_at_a_time_on_this_machine(True, lambda: None, lock):
                return time.time()

        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=lambda: sender.send(second()))
        process.start()
        time.sleep(0.3)
        order.append(time.time())
    assert receiver.recv() >= order[0]
    process.join()


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("budget", [0, 60])
def test_a_missing_shard_is_an_error_that_names_it_and_neither_a_hang_nor_a_shorter_run(
    tmp_path: Path, workers: int, budget: int
) -> None:
    folder = write_set(tmp_path / "set", CAPTIONS)
    (folder / "shard.00004.mds").unlink()
    reading = Reading(settings=settings_of(folder, unique_samples=budget), stop=4, workers=workers)
    with pytest.raises(DamagedShard, match="set/shard.00004.mds is missing"):
        read(reading, tmp_path / "x", timeout=20)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_cut_short_is_an_error_that_names_it(tmp_path: Path, workers: int) -> None:
    folder = write_set(tmp_path / "set", CAPTIONS)
    victim = folder / "shard.00002.mds"
    size = victim.stat().st_size
    os.truncate(victim, size // 2)
    reading = Reading(settings=settings_of(folder), stop=4, workers=workers)
    with pytest.raises(
        DamagedShard, match=rf"shard.00002.mds is damaged: {size // 2:,} bytes, its index says {size:,}"
    ):
        read(reading, tmp_path / "x", timeout=20)


@pytest.mark.parametrize("difference", [-2, 2])
def test_an_index_that_lies_about_a_count_is_an_error(tmp_path: Path, difference: int) -> None:
    """Too many would be read beyond the shard's end, too few never shown."""
    folder = write_set(tmp_path / "set", CAPTIONS)
    count = json.loads((folder / "index.json").read_text())["shards"][3]["samples"]
    lie(folder, 3, samples=count + difference)
    with pytest.raises(DamagedShard, match=f"{count} samples, its index says {count + difference}"):
        read(Reading(settings=settings_of(folder)), tmp_path / "x", timeout=20)


@pytest.mark.parametrize("text", ["no JSON", '{"shards": 3}', '{"shards": [{}]}'])
def test_what_is_no_index_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_set(tmp_path / "set", CAPTIONS)
    (folder / "index.json").write_text(text)
    with pytest.raises(ValueError, match="index.json is not the index"):
        in_children(open_stream, Reading(settings=settings_of(folder)), scratch=tmp_path / "x")


def test_a_set_without_the_columns_of_images_and_captions_is_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", CAPTIONS)
    lie(folder, 0, column_names=["caption", "image", "key", "pad"])
    with pytest.raises(
        ValueError, match=r"shard.00000.mds has no column for an image \(jpg\), only caption, image"
    ):
        in_children(open_stream, Reading(settings=settings_of(folder)), scratch=tmp_path / "x")


def test_a_thread_that_fails_ends_the_run_and_not_the_epoch(tmp_path: Path) -> None:
    """As it comes, the other workers' batches would take the places of those that are lost."""
    folder = write_set(tmp_path / "set", CAPTIONS)

    class Failing(OrderedSamples):
        def _ready_thread(self, it: object) -> None:
            raise OSError("out of memory, say")

    def start() -> None:
        import scaling.data.stream.training_stream

        setattr(scaling.data.stream.training_stream, "OrderedSamples", Failing)
        list(open_stream(Reading(settings=settings_of(folder))).batches(0, 4))

    with pytest.raises(RuntimeError, match="a background thread of the training stream failed"):
        in_children(start, scratch=tmp_path / "x", timeout=20)


def test_batches_are_counted_against_the_plan(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", CAPTIONS)

    def start() -> None:
        stream = open_stream(Reading(settings=settings_of(folder)))
        stream._steps_per_epoch = 7  # 96 samples are 4 batches
        list(stream.batches(0, 7))

    with pytest.raises(DataExhausted, match="epoch 0 ended after 4 of 7 global batches"):
        in_children(start, scratch=tmp_path / "x", timeout=20)


def test_an_epoch_ends_before_the_samples_that_streaming_repeats(tmp_path: Path) -> None:
    """Of 100 samples over eight canonical nodes the last four places repeat others: 4 batches of 25 would show them."""
    folder = write_set(tmp_path / "set", [f"caption {number}" for number in range(100)])
    reading = Reading(settings=settings_of(folder, global_batch=25), stop=6)
    batches = ids(read(reading, tmp_path / "x"))
    for epoch in (batches[:3], batches[3:]):
        shown = sum(epoch, [])
        assert len(set(shown)) == len(shown) == 75


def test_the_epoch_after_a_resume_at_an_epochs_end_is_whole(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", CAPTIONS)
    whole = read(Reading(settings=settings_of(folder), stop=12), tmp_path / "x")
    for start in (4, 8):
        for workers in (0, 2):
            reading = Reading(settings=settings_of(folder), start=start, stop=12, workers=workers)
            assert read(reading, tmp_path / f"y{start}{workers}") == whole[start:]


def test_a_killed_job_leaves_only_what_can_be_told_to_be_its_own(tmp_path: Path) -> None:
    """Its segments keep their number from the next job, which starts all the same, and outlives their removal."""
    folder = write_set(tmp_path / "set", CAPTIONS)
    scratch = tmp_path / "killed"

    def die() -> None:
        _leave_shared_memory_to_parent()  # as the children of a launch do
        stream = open_stream(Reading(settings=settings_of(folder)))
        note_streaming_segments(scratch, stream.shared_memory_prefix)
        next(stream.batches(0, 4))
        os.kill(os.getpid(), signal.SIGKILL)

    with contextlib.suppress(RuntimeError):
        in_children(die, scratch=scratch)
    left = set(json.loads((scratch / "streaming-segments.json").read_text()))
    assert left and all((SHARED_MEMORY / name).exists() for name in left)

    def live() -> int:
        stream = open_stream(Reading(settings=settings_of(folder)))
        first = next(batches := stream.batches(0, 4))
        assert remove_streaming_segments(scratch) > 0
        return len(first) + sum(len(batch) for batch in batches)

    assert in_children(live, scratch=tmp_path / "live") == [96]
    assert not any((SHARED_MEMORY / name).exists() for name in left)


def test_locks_stand_in_the_jobs_own_temporary_folder_only(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", CAPTIONS)
    before = set(Path("/tmp").glob("*filelock*"))

    def locks() -> list[Path]:
        list(open_stream(Reading(settings=settings_of(folder), workers=1)).batches(0, 4))
        return list(Path(tempfile.gettempdir()).glob("*filelock*"))

    assert in_children(locks, scratch=tmp_path / "x") != [[]]
    assert set(Path("/tmp").glob("*filelock*")) == before


def test_a_caption_that_is_not_utf_8_or_not_json_is_a_bad_sample_and_not_a_bad_shard(tmp_path: Path) -> None:
    picture = encode_jpeg(draw_scene(sample_scene(0, "train", 0), 16))
    part = tmp_path / "set" / "part"
    part.mkdir(parents=True)
    samples = [
        {"jpg": picture, "caption": f"caption {n}", "captions": [f"written {n}"], "key": str(n)}
        for n in range(24)
    ]
    write_shards(part, {**IMAGE_TEXT_COLUMNS, "captions": "json"}, samples, size_limit=2**20)
    merge_indexes(part.parent, [part])
    (shard,) = part.glob("*.mds")
    whole = shard.read_bytes()
    for found, other in (
        (b"caption 3", b"capt\xff\xfen 3"),
        (b'["written 5"]', b"[-written 5--"),
        (b"tten 7", b"\xff\xfeen 7"),
    ):
        assert whole.count(found) == 1
        whole = whole.replace(found, other)
    shard.write_bytes(whole)

    def rejects() -> list[dict[str, int]]:
        stream = open_stream(Reading(settings=settings_of(part.parent)))
        return [dict(batch.rejects) for batch in stream.batches(0, 2)]

    assert (
        in_children(rejects, scratch=tmp_path / "x")[0] == [{"unreadable caption": 2}] * 2
    ), "5 and 7; 3 has another"
