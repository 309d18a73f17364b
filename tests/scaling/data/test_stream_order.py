"""The order of samples, from the plan that streaming itself makes of an epoch; no image is read."""

from __future__ import annotations

import atexit
import itertools
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stream_children import Reading, ids, in_children, open_stream, read, settings_of, write_set
from streaming.base.batching import generate_work
from streaming.base.world import World

from scaling.data.stream.sources import StreamSource
from scaling.data.stream.training_stream import TrainingStream

NODES = (1, 2, 3, 4, 5, 6, 8, 12, 16)
"""Numbers of machines, also such as neither divide the canonical eight nor are divided by it."""


def _write_index(folder: Path, samples: list[int]) -> Path:
    """The index of shards that do not exist."""
    columns = {"caption": "str", "jpg": "bytes", "key": "str"}
    shards = [
        {
            "version": 2,
            "format": "mds",
            "compression": None,
            "hashes": [],
            "samples": count,
            "size_limit": 1 << 20,
            "raw_data": {"basename": f"shard.{number:05d}.mds", "bytes": 100, "hashes": {}},
            "zip_data": None,
            "column_names": list(columns),
            "column_encodings": list(columns.values()),
            "column_sizes": [None] * 3,
        }
        for number, count in enumerate(samples)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))
    return folder


def _plan(
    stream: TrainingStream, epoch: int, step: int, *, nodes: int = 1, ranks: int = 1, workers: int = 1
) -> list[list[int]]:
    """The ids of every global batch of an epoch from a step on, were there so many machines, ranks and workers."""
    dataset, global_batch = stream._dataset, stream._settings.global_batch
    dataset.start_at(epoch, step * global_batch)
    dataset._resume(dataset._unique_rank_world, epoch)
    dataset.batch_size = global_batch // (nodes * ranks)
    with warnings.catch_warnings():
        # places behind the last whole batch
        warnings.filterwarnings("ignore", message="Attempting to partition")
        plan = generate_work("random", dataset, World(nodes, ranks, workers, 0), epoch, step * global_batch)
    in_order = plan.transpose(3, 2, 0, 1, 4).reshape(-1, global_batch)  # batch, worker; node, rank, sample
    return [sorted(batch.tolist()) for batch in in_order[: stream._steps_per_epoch - step]]


def test_every_world_sees_the_same_global_batches_from_any_position_and_an_epoch_repeats_no_sample(
    tmp_path: Path,
) -> None:
    counts = itertools.count()

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        nodes, ranks = data.draw(st.sampled_from(NODES)), data.draw(st.sampled_from((1, 2, 4)))
        workers = data.draw(st.integers(1, 3))
        global_batch = nodes * ranks * data.draw(st.integers(1, 3))
        samples = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
        samples[0] += 8 * global_batch
        folder = _write_index(tmp_path / f"set-{next(counts)}", samples)
        algorithm = data.draw(st.sampled_from(("py1e", "py1br", "py1s", "py2s", "naive")))
        epoch, seed = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 9))
        position = data.draw(st.floats(0, 1, exclude_max=True))
        drawn = settings_of(folder, global_batch=global_batch, seed=seed, shuffle_algorithm=algorithm)
        stream = open_stream(Reading(settings=drawn))
        whole = _plan(stream, epoch, 0)
        shown = sum(whole, [])
        assert whole and len(set(shown)) == len(shown) and set(shown) <= set(range(sum(samples)))
        step = int(position * len(whole))
        assert _plan(stream, epoch, step, nodes=nodes, ranks=ranks, workers=workers) == whole[step:]
        del stream
        atexit._run_exitfuncs()  # streaming's: they close its shared memory, unless there are views of it

    in_children(holds, scratch=tmp_path / "scratch", timeout=120)


def test_seeds_and_epochs_have_orders_of_their_own(tmp_path: Path) -> None:
    folder = _write_index(tmp_path / "set", [30] * 10)

    def plans() -> list[list[list[int]]]:
        streams = [open_stream(Reading(settings=settings_of(folder, seed=seed))) for seed in (0, 0, 1)]
        return [_plan(stream, epoch, 0) for stream in streams for epoch in (0, 1)]

    first, second, first_again, second_again, other, _ = in_children(plans, scratch=tmp_path)[0]
    assert (first, second) == (first_again, second_again)
    assert first != second and first != other


def test_a_mixture_shows_its_sources_in_exact_proportion_and_in_time_all_of_them(tmp_path: Path) -> None:
    """64 + 192 samples shown 3 : 1: an epoch of 256 has the small ones three times and a third of the large set."""
    small, large = _write_index(tmp_path / "a", [16] * 4), _write_index(tmp_path / "b", [16] * 12)
    sources = (StreamSource(local=small, proportion=3), StreamSource(local=large, proportion=1))

    def plans() -> list[list[list[int]]]:
        stream = open_stream(Reading(settings=settings_of(*sources, global_batch=16)))
        assert stream.num_unique_samples == 256
        return [_plan(stream, epoch, 0) for epoch in range(40)]

    epochs = in_children(plans, scratch=tmp_path / "x")[0]
    for epoch in epochs:
        seen = Counter(sum(epoch, []))
        assert {seen[sample] for sample in range(64)} == {3}
        assert len([sample for sample in seen if sample >= 64]) == 64, "each once"
        shares = [sum(sample < 64 for sample in batch) / 16 for batch in epoch]
        assert min(shares) > 0.3 and max(shares) <= 1, "mixed within batches, not one source after another"
    assert len({sample for epoch in epochs for batch in epoch for sample in batch}) == 256
    assert in_children(plans, scratch=tmp_path / "y")[0] == epochs


def test_a_mixture_is_read_from_its_sources_whatever_the_number_of_ranks(tmp_path: Path) -> None:
    """The captions tell the source: the two have tokens of their own."""
    small = write_set(tmp_path / "a", ["dog"] * 24)
    large = write_set(tmp_path / "b", ["cat and mouse"] * 72)
    mixture = settings_of(
        StreamSource(local=small, proportion=1), StreamSource(local=large, proportion=1), global_batch=24
    )
    whole = read(Reading(settings=mixture, stop=8), tmp_path / "x")
    tokens = {
        source: {row[2] for batch in whole for row in batch if (row[0] < 24) == source}
        for source in (True, False)
    }
    assert len(tokens[True]) == len(tokens[False]) == 1 and tokens[True] != tokens[False]
    assert read(Reading(settings=mixture, start=3, stop=8, ranks=2), tmp_path / "y") == whole[3:]


def test_smaller_budgets_of_unique_samples_are_nested_in_larger_ones_and_the_same_in_every_epoch(
    tmp_path: Path,
) -> None:
    folder = write_set(tmp_path / "set", [f"caption {number}" for number in range(96)])
    shards = [shard["samples"] for shard in json.loads((folder / "index.json").read_text())["shards"]]
    seen: dict[int, set[int]] = {}
    for budget in (30, 50, 96):
        reading = Reading(settings=settings_of(folder, unique_samples=budget, global_batch=8), stop=30)
        batches = ids(read(reading, tmp_path / f"x{budget}"))
        seen[budget] = {sample for batch in batches for sample in batch}
        held = next(total for total in np.cumsum(shards) if total >= budget)
        assert seen[budget] == set(range(int(held))), "30 steps of 8 are at least two epochs"
    assert seen[30] < seen[50] < seen[96]


def test_a_budget_needs_only_its_own_shards_and_memory_in_proportion(tmp_path: Path) -> None:
    """The plan of an epoch, the shard table and the files that are opened are the budget's, not the data set's."""
    folder = write_set(tmp_path / "set", [f"caption {number}" for number in range(200)])
    for path in sorted(folder.glob("shard.*.mds"))[3:]:
        path.unlink()

    def sizes() -> tuple[int, int, int]:
        stream = open_stream(Reading(settings=settings_of(folder, unique_samples=20, global_batch=8)))
        batches = list(stream.batches(0, 4))
        dataset = stream._dataset
        return len(batches), dataset.num_shards, len(dataset.spanner.shard_bounds) - 1

    assert in_children(sizes, scratch=tmp_path / "x")[0] == (4, 3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unique_samples": 97}, "holds 96 samples, but unique_samples asks for 97"),
        ({"global_batch": 104}, r"an epoch of 96 unique samples shows 96, fewer than global_batch \(104\)"),
        ({"shuffle_algorithm": "py3"}, "'py3' is none of: .*py1e"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = _write_index(tmp_path / "set", [32] * 3)
    with pytest.raises(ValueError, match=message):
        in_children(open_stream, Reading(settings=settings_of(folder, **changes)), scratch=tmp_path / "x")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ((), "sources is empty"),
        ((0.0, 1.0), r"proportion \(0\) must be above 0"),
        ((1.0, 1.0, "same"), "is the folder of two sources"),
    ],
)
def test_sources_that_cannot_be_mixed_are_refused(tmp_path: Path, sources: Any, message: str) -> None:
    made = [
        StreamSource(local=_write_index(tmp_path / f"{number}", [32]), proportion=proportion)
        for number, proportion in enumerate(p for p in sources if p != "same")
    ]
    made += made[:1] if "same" in sources else []
    with pytest.raises(ValueError, match=message):
        in_children(open_stream, Reading(settings=settings_of(*made)), scratch=tmp_path / "x")
