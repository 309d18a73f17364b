"""DeepSpeed engines against plain PyTorch, in processes of their own: DeepSpeed keeps global state."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from deepspeed_cases import CASES, END, GROUPED, HALF, LAYOUTS, bounded_objective, layouts
from engine_oracle import objective_of, plain_losses, settings_of, state_of, train

from scaling.processes.ranks import free_port
from scaling.processes.residue import remove_allreduce_buffers
from scaling.train.engines.plain import PlainEngine

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
Found = dict[str, Any]
RUNS = [(num_ranks, layout) for num_ranks in (1, 2) for layout in layouts(num_ranks)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Found]:
    """What two ranks found, and then one, which continues what the two have written."""
    folder = tmp_path_factory.mktemp("deepspeed")
    return {num_ranks: _run(num_ranks, folder) for num_ranks in (2, 1)}


def _run(num_ranks: int, folder: Path) -> Found:
    port = free_port()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": programs, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__).with_name("deepspeed_runs.py"))]
    logs = [folder / f"log-{num_ranks}-{rank}.txt" for rank in range(num_ranks)]
    ranks = []
    try:
        for rank, log in enumerate(logs):
            arguments = [*command, str(rank), str(num_ranks), str(port), str(folder)]
            with log.open("w") as stream:
                ranks.append(subprocess.Popen(arguments, env=environment, stdout=stream, stderr=stream))
        codes = [process.wait(timeout=500) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
        remove_allreduce_buffers(port)
    assert codes == [0] * num_ranks, "\n".join(log.read_text()[-3000:] for log in logs)
    result: Found = json.loads((folder / f"found-{num_ranks}.json").read_text())
    return result


@cache
def oracle(name: str) -> tuple[list[float], list[float]]:
    """Losses and norms of the case in plain torch, float64."""
    rows = plain_losses(CASES[name])
    return [row.loss for row in rows], [row.norm for row in rows]


def columns(rows: list[list[float]]) -> tuple[list[float], list[float]]:
    """Losses and norms."""
    losses, norms = zip(*rows, strict=True)
    return list(losses), list(norms)


@pytest.mark.parametrize("num_ranks, layout", RUNS)
@pytest.mark.parametrize("name", CASES)
def test_every_stage_trains_as_plain_pytorch_does(
    found: dict[int, Found], name: str, layout: str, num_ranks: int
) -> None:
    """Whole and accumulated batches, cached features, clipping, and gradients above 1 that nobody asked to clip."""
    rows, steps, adam_steps = found[num_ranks]["losses"][f"{name} {layout}"]
    losses, norms = columns(rows)
    wanted_losses, wanted_norms = oracle(name)
    assert losses == pytest.approx(wanted_losses, rel=1e-5)
    assert norms == pytest.approx(wanted_norms, rel=1e-4)
    assert steps == adam_steps == CASES[name].num_steps  # none hidden, none lost


@pytest.mark.parametrize("name", CASES)
def test_the_runs_would_notice_clipping_that_nobody_asked_for(name: str) -> None:
    assert min(oracle(name)[1]) > (CASES[name].gradient_clipping or 1.0)


@pytest.mark.parametrize("num_ranks, layout", RUNS)
def test_the_bound_on_the_logit_scale_reaches_what_the_optimizer_steps(
    found: dict[int, Found], layout: str, num_ranks: int
) -> None:
    """Applied to the module alone, it would be undone by the next step of ZeRO's master copy."""
    case = dataclasses.replace(CASES["clip"], micro_batch=8)
    plain = PlainEngine(bounded_objective(), settings_of(case, zero_stage=0))
    wanted = [row.loss for row in train(plain, case, range(HALF))]
    rows, logit_scale = found[num_ranks]["bounded"][layout]
    assert columns(rows)[0] == pytest.approx(wanted, rel=1e-5)
    assert (
        logit_scale == pytest.approx(plain.weights()["logit_scale"].item(), abs=1e-6) and logit_scale <= 2.5
    )


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_training_starts_from_the_initial_weights_of_the_objective_and_no_moments(
    found: dict[int, Found], num_ranks: int
) -> None:
    """DeepSpeed's zero.Init would lose timm's; and a hidden first step would show here."""
    assert found[num_ranks]["initial"] == dict.fromkeys(layouts(num_ranks), True)


@pytest.mark.parametrize("num_ranks, layout", RUNS)
def test_a_state_taken_over_on_the_same_ranks_continues_bit_for_bit(
    found: dict[int, Found], layout: str, num_ranks: int
) -> None:
    undisturbed, resumed = found[num_ranks]["resumed"][layout]
    assert resumed == undisturbed


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_a_state_is_taken_over_by_another_stage_and_number_of_ranks(
    found: dict[int, Found], num_ranks: int
) -> None:
    """Each layout writes on two ranks and another continues, on two ranks and on one."""
    resumed = {name: rows for name, rows in found[num_ranks]["resumed"].items() if " by " in name}
    assert len(resumed) == len(LAYOUTS)
    for rows in resumed.values():
        assert columns(rows)[0] == pytest.approx(oracle("clip")[0][HALF:END], rel=1e-5)


@pytest.mark.parametrize("num_ranks, layout", RUNS)
def test_a_gradient_that_is_not_finite_on_one_rank_skips_the_step_of_all_and_is_told(
    found: dict[int, Found], layout: str, num_ranks: int
) -> None:
    was_skipped, norm_is_finite, weights_are_same, steps, rows = found[num_ranks]["skipped"][layout]
    assert was_skipped and not norm_is_finite and weights_are_same
    assert steps == [HALF, HALF]
    assert columns(rows)[0] == pytest.approx(oracle("superclass")[0][:END], rel=1e-5)


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_gradients_of_an_unfinished_step_are_forgotten_with_the_state_they_belong_to(
    found: dict[int, Found], num_ranks: int
) -> None:
    for undisturbed, after in found[num_ranks]["dropped"].values():
        assert after == undisturbed


@pytest.mark.parametrize("num_ranks, layout", RUNS)
def test_the_whole_objective_has_the_present_weights_on_every_rank_until_the_next_step(
    found: dict[int, Found], layout: str, num_ranks: int
) -> None:
    is_right, was_freed = found[num_ranks]["whole"][layout]
    assert is_right
    assert was_freed == layout.startswith("3")


def test_running_statistics_are_those_of_plain_pytorch_on_every_rank(found: dict[int, Found]) -> None:
    engine = PlainEngine(objective_of(GROUPED), settings_of(GROUPED, zero_stage=0))
    wanted = [[row.loss, row.norm] for row in train(engine, GROUPED)]  # without the step that the others skip
    means = [v.sum().item() for (name, _), v in state_of(engine).items() if name.endswith("running_mean")]
    for num_ranks in (1, 2):
        for rows, are_equal, engine_means in found[num_ranks]["buffers"].values():
            assert columns(rows)[0] == pytest.approx(columns(wanted)[0], rel=1e-5)
            assert are_equal
            assert engine_means == pytest.approx(means, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_a_locked_tower_has_weights_and_no_moments_and_is_taken_over_too(
    found: dict[int, Found], num_ranks: int
) -> None:
    for kinds, undisturbed, resumed in found[num_ranks]["locked"].values():
        assert kinds == ["weight"]
        assert resumed == undisturbed


def test_what_cannot_be_trained_is_refused_by_name(found: dict[int, Found]) -> None:
    without_dimension, compiled = found[1]["refused"]
    assert without_dimension.startswith("parameter logit_scale has no dimension, which neither DeepSpeed")
    assert compiled.startswith("compile (true) does not work with zero_stage 3 of engine deepspeed")


def test_stages_agree_under_autocast(found: dict[int, Found]) -> None:
    """To bfloat16's rounding: stage 3 adds a linear layer's bias after it, the others before."""
    first = columns(found[1]["bf16"]["1"])[0]
    for num_ranks in (1, 2):
        for rows in found[num_ranks]["bf16"].values():
            assert columns(rows)[0] == pytest.approx(first, rel=2e-3)
