from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from stream_children import Reading, ids, in_children, open_stream, read, settings_of

from scaling.data.rendering.drawing import draw_scene, encode_jpeg
from scaling.data.rendering.scenes import sample_scene
from scaling.data.shards import IMAGE_TEXT_COLUMNS, merge_indexes, write_shards
from scaling.train.ledger import hash_of_ids


def test_global_batches_do_not_depend_on_ranks_and_workers_and_a_resume_continues_them_over_epochs(
    small_rendering: Path, tmp_path: Path
) -> None:
    """300 samples in batches of 24 make epochs of 12 steps; steps 0 to 19 reach into the second."""
    settings = settings_of(small_rendering / "train")

    def steps(name: str, **other: int) -> list[list[tuple[int, int, int]]]:
        return read(Reading(settings=settings, stop=20, **other), tmp_path / name)

    whole = steps("a")
    assert len(whole) == 20 and all(len({row[0] for row in batch}) == 24 for batch in whole)
    first_epoch = sum(ids(whole[:12]), [])
    assert len(set(first_epoch)) == len(first_epoch), "an epoch shows no sample twice"
    assert ids(whole[12:]) != ids(whole[:8]), "another epoch, another order"
    assert steps("b", ranks=2) == whole
    assert steps("c", start=5, ranks=2, workers=1) == whole[5:]
    assert steps("d", start=12, workers=1) == whole[12:], "exactly at the end of an epoch"
    assert steps("e", start=7, workers=2) == whole[7:], "workers persist from one epoch to the next"


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_leaves_alone_the_random_state_from_which_patches_are_dropped(
    small_rendering: Path, tmp_path: Path, workers: int
) -> None:
    """As it comes, torch's loader draws from it once per iterator: a run that was continued would draw once more."""
    reading = Reading(settings=settings_of(small_rendering / "train"), workers=workers)

    def has_drawn() -> bool:
        stream = open_stream(reading)
        before = torch.get_rng_state()
        assert len(list(stream.batches(0, 14))) == 14, "into the second epoch"
        return not torch.equal(torch.get_rng_state(), before)

    assert in_children(has_drawn, scratch=tmp_path) == [False]


def test_a_killed_reading_that_other_ranks_continue_has_the_ledger_of_an_undisturbed_one(
    small_rendering: Path, tmp_path: Path
) -> None:
    """Two ranks die in step 8, the last checkpoint is of step 5; three continue, into the second epoch."""
    settings = settings_of(small_rendering / "train")

    def note(start: int, ranks: int, die_at: int) -> None:
        stream = open_stream(Reading(settings=settings, ranks=ranks, workers=1))
        for step, batch in enumerate(stream.batches(start, 20), start):
            if step == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            with open(tmp_path / f"ledger-{ranks}-{os.environ['RANK']}", "a") as ledger:
                print(step, hash_of_ids(batch.sample_ids_B), file=ledger)

    def ledger(ranks: int) -> list[tuple[int, int]]:
        files = [(tmp_path / f"ledger-{ranks}-{rank}").read_text().splitlines() for rank in range(ranks)]
        rows = [[tuple(map(int, line.split())) for line in lines] for lines in zip(*files, strict=True)]
        return [(shares[0][0], sum(share[1] for share in shares) % 2**61) for shares in rows]

    in_children(note, 0, 1, 99, scratch=tmp_path / "undisturbed")
    with pytest.raises(RuntimeError, match="the reader died"):
        in_children(note, 0, 2, 8, ranks=2, scratch=tmp_path / "killed")
    in_children(note, 5, 3, 99, ranks=3, scratch=tmp_path / "continued")
    assert [step for step, _ in ledger(1)] == list(range(20))
    assert ledger(2)[:5] + ledger(3) == ledger(1)


def test_a_stream_can_be_read_again_from_any_earlier_position(small_rendering: Path, tmp_path: Path) -> None:
    settings = settings_of(small_rendering / "train")

    def twice() -> list[list[list[int]]]:
        stream = open_stream(Reading(settings=settings, workers=1))
        spans = [(0, 14), (2, 4), (13, 15), (0, 1)]
        return [[sorted(batch.sample_ids_B.tolist()) for batch in stream.batches(*span)] for span in spans]

    whole, middle, second_epoch, start = in_children(twice, scratch=tmp_path)[0]
    assert middle == whole[2:4] and second_epoch[0] == whole[13] and start == whole[:1]


def test_the_caption_shown_is_a_function_of_seed_sample_and_epoch_and_all_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    part = folder / "part-00000"
    part.mkdir(parents=True)
    picture = encode_jpeg(draw_scene(sample_scene(0, "train", 0), 32))
    samples = [
        {"jpg": picture, "caption": "one", "captions": ["one", "two", "three"], "key": f"{index}"}
        for index in range(48)
    ]
    write_shards(part, {**IMAGE_TEXT_COLUMNS, "captions": "json"}, samples, size_limit=2**20)
    merge_indexes(folder, [part])
    epochs = read(Reading(settings=settings_of(folder), stop=6), tmp_path / "x")
    by_epoch = [
        {row[0]: row[2] for batch in epochs[2 * epoch : 2 * epoch + 2] for row in batch} for epoch in range(3)
    ]
    assert by_epoch[0] != by_epoch[1], "another epoch, other captions"
    counts = np.bincount(
        np.unique([list(epoch.values()) for epoch in by_epoch], return_inverse=True)[1].ravel()
    )
    assert len(counts) == 3 and counts.min() > 20, "48 samples x 3 epochs over three captions"


def test_loader_workers_outlive_a_request_to_stop_that_goes_to_the_whole_process_group(
    small_rendering: Path, tmp_path: Path
) -> None:
    """As `scaling launch` and terminals send it: the rank still needs the batches up to its checkpoint."""
    settings = settings_of(small_rendering / "train")

    def read_on() -> tuple[int, int]:
        stream = open_stream(Reading(settings=settings, workers=2))
        batches = stream.batches(0, 8)
        next(batches)
        workers = [process.pid for process in multiprocessing.active_children()]
        for pid in workers:
            assert pid is not None
            os.kill(pid, signal.SIGTERM)
        return len(workers), sum(1 for _ in batches)

    assert in_children(read_on, scratch=tmp_path / "x") == [(2, 7)]
