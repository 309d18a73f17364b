"""The FSDP2 engine against plain torch: on 1, 2 and 4 ranks, in both stages, with replicas and offloaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_oracle import (
    State,
    batch_of,
    initial_state,
    objective_of,
    plain_losses,
    restore,
    settings_of,
    state_of,
    train,
)
from fsdp_runs import (
    AUTOCAST,
    CASES,
    GROUPED,
    HALF,
    LAYOUTS,
    LIT,
    RECOMPUTING,
    on_four_ranks,
    on_one_rank,
    on_two_ranks,
    run_ranks,
)

from model_zoo.targets import KnownShare
from scaling.data.images.augmentation import Augmentation
from scaling.data.images.device_augmentation import prepare
from scaling.train.engines import build_engine

pytestmark = pytest.mark.slow

RANKS_AND_LAYOUTS = [(2, layout) for layout in LAYOUTS] + [(1, "3"), (1, "2")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where states are; one plain run has been here."""
    folder = tmp_path_factory.mktemp("fsdp")
    engine = build_engine("plain", objective_of(CASES["clip"]), settings_of(CASES["clip"]))
    train(engine, CASES["clip"], range(HALF))
    torch.save((state_of(engine), HALF), folder / "state-plain.pt")
    return folder


@pytest.fixture(scope="module")
def two_ranks(folder: Path) -> list[dict[str, Any]]:
    return run_ranks(on_two_ranks, 2, folder)


@pytest.fixture(scope="module")
def one_rank(folder: Path, two_ranks: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = run_ranks(on_one_rank, 1, folder)[0]
    return found


@pytest.fixture(scope="module")
def whole_runs(two_ranks: list[dict[str, Any]], one_rank: dict[str, Any]) -> dict[tuple[int, str, str], Any]:
    """By ranks, layout and case."""
    found = {1: one_rank["whole runs"], 2: two_ranks[0]["whole runs"]}
    return {(ranks, *key): run for ranks, runs in found.items() for key, run in runs.items()}


def assert_close(rows: Any, expected: Any, rel: float = 1e-5) -> None:
    assert [row.loss for row in rows] == pytest.approx([row.loss for row in expected], rel=rel)
    assert [row.norm for row in rows] == pytest.approx([row.norm for row in expected], rel=5e-5)


def assert_same_state(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert torch.equal(found[key], values), key


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ranks, layout", RANKS_AND_LAYOUTS)
def test_losses_and_gradient_norms_are_those_of_plain_torch(
    whole_runs: dict[tuple[int, str, str], Any], ranks: int, layout: str, case: str
) -> None:
    assert_close(whole_runs[ranks, layout, case]["rows"], plain_losses(CASES[case]))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ranks, layout", RANKS_AND_LAYOUTS)
def test_a_run_cut_in_half_continues_bit_for_bit(
    whole_runs: dict[tuple[int, str, str], Any], ranks: int, layout: str, case: str
) -> None:
    run = whole_runs[ranks, layout, case]
    assert run["again"] == run["rest"]


def test_adamw_makes_one_step_for_each_step_fresh_or_continued(
    whole_runs: dict[tuple[int, str, str], Any],
) -> None:
    for key, run in whole_runs.items():
        assert set(run["steps"]) == {CASES[key[2]].num_steps}, key


def test_all_ranks_see_the_same_numbers(two_ranks: list[dict[str, Any]]) -> None:
    first, second = (found["whole runs"] for found in two_ranks)
    for key, run in first.items():
        assert run["rows"] == second[key]["rows"], key


def test_fewer_ranks_continue_what_more_have_written(
    whole_runs: dict[tuple[int, str, str], Any], one_rank: dict[str, Any]
) -> None:
    for (layout, case), rows in one_rank["from two ranks"].items():
        assert_close(rows, whole_runs[2, layout, case]["rest"])


def test_two_ranks_continue_what_the_plain_engine_has_written(
    whole_runs: dict[tuple[int, str, str], Any], two_ranks: list[dict[str, Any]]
) -> None:
    assert_close(two_ranks[0]["from plain"], whole_runs[1, "3", "clip"]["rest"])


def test_the_plain_engine_continues_what_two_ranks_have_written(
    folder: Path, whole_runs: dict[tuple[int, str, str], Any]
) -> None:
    for case in ("accumulated", "cached"):
        engine = build_engine("plain", objective_of(CASES[case]), settings_of(CASES[case]))
        restore(engine, *torch.load(folder / f"state-2-3-{case}.pt", weights_only=False))
        rows = train(engine, CASES[case], range(HALF, CASES[case].num_steps))
        assert_close(rows, whole_runs[2, "3", case]["rest"])


def test_training_starts_from_the_built_objective_and_moments_of_zero(
    two_ranks: list[dict[str, Any]],
) -> None:
    built = initial_state(objective_of(CASES["clip"]))
    for state in two_ranks[0]["starts"].values():
        assert_same_state({key: value for key, value in state.items() if "exp_avg" not in key[1]}, built)
        moments = [value for key, value in state.items() if "exp_avg" in key[1]]
        assert len(moments) == 2 * len(built) and not any(value.any() for value in moments)


def test_replicas_of_shards_train_as_one_process_does(folder: Path) -> None:
    found = run_ranks(on_four_ranks, 4, folder)
    expected = plain_losses(found[0]["case"])
    for rank in found:
        for shard_ranks in ("2", "4"):
            assert_close(rank[shard_ranks][0], expected)
            assert_same_state(rank[shard_ranks][1], found[0][shard_ranks][1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_that_is_not_finite_on_one_rank_leaves_the_weights_of_all_alone(
    two_ranks: list[dict[str, Any]], layout: str
) -> None:
    for rank in two_ranks:
        found = rank["not finite"][layout]
        was_skipped, norm = found["report"]
        assert was_skipped and not math.isfinite(norm)
        assert_same_state(found["after"], found["before"])
        assert found["steps"] == (1, 2)
        assert math.isfinite(found["good"][0].norm)


def test_a_locked_tower_has_no_moments_and_keeps_its_weights(two_ranks: list[dict[str, Any]]) -> None:
    lit = two_ranks[0]["lit"]
    assert_close(lit["rows"], plain_losses(LIT))
    tower = {key for key in lit["after"] if key[0].startswith("image_tower.")}
    assert {kind for _, kind in tower} == {"weight"}
    assert_same_state({key: lit["after"][key] for key in tower}, {key: lit["before"][key] for key in tower})


def test_running_statistics_are_right_and_equal_on_all_ranks(two_ranks: list[dict[str, Any]]) -> None:
    engine = build_engine("plain", objective_of(GROUPED), settings_of(GROUPED))
    expected_rows, expected = train(engine, GROUPED), state_of(engine)
    for rows, state, own in (rank["grouped"] for rank in two_ranks):
        assert_close(rows[:1], expected_rows[:1])
        assert len(own) == sum(kind == "buffer" for _, kind in state) > 100
        for name, buffer in own.items():
            assert torch.equal(buffer.flatten(), state[name, "buffer"]), name
            torch.testing.assert_close(buffer.flatten(), expected[name, "buffer"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_rank_alone_evaluates_the_whole_objective_until_the_next_step(
    two_ranks: list[dict[str, Any]], layout: str
) -> None:
    writer, other = (rank["whole objective"][layout] for rank in two_ranks)
    module = objective_of(CASES["clip"])
    module.load_state_dict(writer["weights"])
    expected = initial_state(module)
    for found in (writer, other):
        assert_same_state({key: found["state"][key] for key in expected}, expected)
        assert found["left"] == 0 and found["twice"]
        undisturbed = two_ranks[0]["whole runs"][layout, "clip"]["rows"][2:4]
        assert found["rows"] == undisturbed, "evaluating in between changed the training"
    assert other["weights"] == {} and writer["loss"] is None
    assert other["loss"] == pytest.approx(_evaluated(module), rel=1e-6)


def _evaluated(module: Any) -> float:
    batch = batch_of(CASES["clip"], 7)
    images = prepare(batch, slice(0, 8), Augmentation(), torch.device("cpu"))
    with torch.no_grad():
        loss: float = module.eval()(images, batch.targets, KnownShare(6.0))["loss"].item()
    return loss


def test_encoding_and_comparing_in_separate_calls_trains_alike(two_ranks: list[dict[str, Any]]) -> None:
    expected = [row.loss for row in plain_losses(CASES["clip"])[:3]]
    assert two_ranks[0]["in two stages"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", RECOMPUTING)
def test_recomputed_activations_train_bit_for_bit_alike_with_what_is_dropped(
    two_ranks: list[dict[str, Any]], mode: str
) -> None:
    assert two_ranks[0]["recomputing"][mode] == two_ranks[0]["recomputing"]["none"]


def test_bfloat16_losses_are_the_plain_engines_bit_for_bit_and_states_stay_float32(
    one_rank: dict[str, Any],
) -> None:
    """Clipping would let one rounding of the norm grow: bfloat16 turns it into other products."""
    for name, case in AUTOCAST.items():
        rows, dtypes = one_rank["bf16"][name]
        expected = train(build_engine("plain", objective_of(case), settings_of(case)), case)
        assert [row.loss for row in rows] == [row.loss for row in expected]
        assert dtypes == {torch.float32}


def test_compiled_blocks_train_alike_and_share_one_graph(one_rank: dict[str, Any]) -> None:
    rows, graphs = one_rank["compiled"]
    assert_close(rows, plain_losses(CASES["superclass"])[:3])
    assert graphs == 1


def test_gradients_are_reduced_once_per_step_however_many_micro_batches(
    two_ranks: list[dict[str, Any]],
) -> None:
    whole, split = two_ranks[0]["communications"]
    assert whole == split == 5  # three blocks, the head and the rest
