from __future__ import annotations

from pathlib import Path

import pytest

from scaling.points import resolve_points
from scaling.processes.assignment import Assignment
from scaling.processes.ranks import Rank
from scaling.spec import load_sweep
from scaling.train.parts_assembly import point_of

SWEEP = Path(__file__).resolve().parents[3] / "sweeps" / "smoke.yaml"


def test_a_child_trains_with_the_micro_batch_of_its_assignment_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After running out of memory its parent assigns a smaller one than the point's."""
    monkeypatch.setenv("SMOKE_DATA", "/nowhere")
    point = resolve_points(load_sweep(SWEEP, ()), num_ranks=1, require_data=False)[0]
    assignment = Assignment(
        point=point.model_dump_json(),
        planned="",
        run_folder=tmp_path,
        rank=Rank(
            rank=0,
            num_ranks=1,
            local_rank=0,
            local_num_ranks=1,
            master_address="127.0.0.1",
            master_port=29500,
        ),
        port=4001,
        scratch=tmp_path,
        accelerator="cpu",
        num_threads=1,
        attempt=1,
        lease_token=1,
        micro_batch=point.placement.micro_batch // 2,
    )
    trained = point_of(assignment)
    assert trained.placement.micro_batch == point.placement.micro_batch // 2
    placement = trained.placement.model_copy(update={"micro_batch": point.placement.micro_batch})
    assert trained.model_copy(update={"placement": placement}) == point
