"""Label statistics of real process groups: those of the samples shown, whoever shows them, in whatever parts."""

# Shapes.  G samples of a global batch, V vocabulary.

from __future__ import annotations

import math
import multiprocessing
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from model_zoo.targets import LabelSets
from scaling.train.idf import DocumentFrequencies

pytestmark = pytest.mark.slow  # starts processes

G, V, NUM_STEPS = 8, 11, 5
RANKS_OF_STEPS = (1, 2, 2, 4, 4)
"""A run that is continued on other numbers of ranks."""


def global_batch(step: int) -> LabelSets:
    """Captions of a Zipfian vocabulary, some of them empty, some with an image that did not decode."""
    draw = torch.Generator().manual_seed(step)
    words = (V ** torch.rand(G, 6, generator=draw)).long() - 1
    sets = [row[: (n + step) % 6].unique() for n, row in enumerate(words)]
    offsets = torch.tensor([0, *(len(labels) for labels in sets)]).cumsum(0)
    is_decoded_G = torch.rand(G, generator=draw) > 0.3
    return LabelSets(torch.cat(sets), offsets, is_decoded_G & (offsets.diff() > 0))


def expected() -> list[dict[str, Any]]:
    """After every step: captions with each label, captions, weights, valid rows of the step; by plain counting."""
    frequencies: Counter[int] = Counter()
    num_samples, rows = 0, []
    for step in range(NUM_STEPS):
        batch = global_batch(step)
        edges = zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True)
        for (start, stop), is_valid in zip(edges, batch.valid_B.tolist(), strict=True):
            frequencies.update(batch.ids_N[start:stop].tolist() if is_valid else [])
        num_samples += int(batch.valid_B.sum())
        weights = [math.log((num_samples + 1) / (frequencies[label] + 1)) for label in range(V)]
        counts = [frequencies[label] for label in range(V)]
        row = {"counts": counts, "num_samples": num_samples, "weights": weights}
        rows.append(row | {"num_valid": int(batch.valid_B.sum())})
    return rows


def steps_of(rank: int, num_ranks: int, steps: list[int], state: Any) -> tuple[list[dict[str, Any]], Any]:
    """What a rank's label statistics say after each step, continued from `state`, and their state at the end."""
    statistics, rows = DocumentFrequencies(V, torch.device("cpu")), []
    if state is not None:
        statistics.restore(state)
    per_rank = G // num_ranks
    for step in steps:
        counts = statistics.observe(global_batch(step).rows(rank * per_rank, (rank + 1) * per_rank))
        # micro-batches, tried again
        shares = [counts.share(num_ranks * num_parts) for num_parts in (1, 2, 2)]
        divisors = [float(share.divisor) * share.num_parts for share in shares]
        weights = [share.label_weights_V for share in shares]
        assert all(weight is not None and torch.equal(weight, weights[0]) for weight in weights)
        row = {"counts": statistics.counts_V.tolist(), "num_samples": int(statistics.num_samples)}
        rows.append(row | {"weights": weights[0].tolist(), "num_valid": divisors})
    return rows, statistics.state()


def a_rank(rank: int, num_ranks: int, steps: list[int], folder: str) -> None:
    """The steps of one number of ranks.  The first is played, given up, and played again from the state before."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous-{steps[0]}"
    dist.init_process_group("gloo", rank=rank, world_size=num_ranks, init_method=rendezvous)
    before = torch.load(f"{folder}/state.pt") if steps[0] else None
    given_up, _ = steps_of(rank, num_ranks, steps[:1], before)
    rows, state = steps_of(rank, num_ranks, steps, before)
    assert given_up == rows[:1]
    dist.barrier()
    torch.save(rows, f"{folder}/rows-{steps[0]}-{rank}.pt")
    if rank == 0:
        torch.save(state, f"{folder}/state.pt")
    dist.destroy_process_group()


def test_counts_and_weights_are_those_of_the_samples_shown_on_one_two_and_four_ranks(tmp_path: Path) -> None:
    """In one or two micro-batches, continued on more ranks, and with a step of each part played twice."""
    multiprocessing.set_forkserver_preload(["torch"])
    for num_ranks in sorted(set(RANKS_OF_STEPS)):
        steps = [step for step, ranks in enumerate(RANKS_OF_STEPS) if ranks == num_ranks]
        torch.multiprocessing.start_processes(
            a_rank, args=(num_ranks, steps, str(tmp_path)), nprocs=num_ranks, start_method="forkserver"
        )
        for rank in range(num_ranks):
            rows = torch.load(tmp_path / f"rows-{steps[0]}-{rank}.pt")
            for row, wanted in zip(rows, expected()[steps[0] : steps[-1] + 1], strict=True):
                assert (row["counts"], row["num_samples"]) == (wanted["counts"], wanted["num_samples"])
                assert row["weights"] == pytest.approx(wanted["weights"], abs=1e-6)
                assert row["num_valid"] == pytest.approx([max(1, wanted["num_valid"])] * 3)
