from __future__ import annotations

from pathlib import Path

import torch

from scaling.records import RunDirectory, read_lines
from scaling.train.ledger import SampleLedger, hash_of_ids


def test_the_hash_of_a_global_batch_does_not_depend_on_who_held_which_part() -> None:
    ids = torch.arange(64)
    shuffled = ids[torch.randperm(64)]
    parts = sum(hash_of_ids(part) for part in shuffled.split(8)) % 2**61
    assert hash_of_ids(ids) == hash_of_ids(shuffled) == parts


def test_a_repeated_or_swapped_sample_changes_the_hash() -> None:
    assert hash_of_ids(torch.tensor([1, 2, 3])) != hash_of_ids(torch.tensor([1, 2, 2]))
    assert hash_of_ids(torch.tensor([1, 2])) != hash_of_ids(torch.tensor([0, 3]))


def test_each_step_leaves_one_line_with_its_place_in_the_sequence(tmp_path: Path) -> None:
    ledger = SampleLedger(RunDirectory(tmp_path), 4, torch.device("cpu"), is_main=True)
    for step in range(3):
        ledger.note(step, torch.arange(4))
    ledger.flush()
    ledger.flush()
    rows = list(read_lines(tmp_path / "samples.jsonl"))
    assert [(row["step"], row["first"], row["last"]) for row in rows] == [(0, 0, 3), (1, 4, 7), (2, 8, 11)]
    assert rows[0]["ids_hash"] == f"{hash_of_ids(torch.arange(4)):016x}"
