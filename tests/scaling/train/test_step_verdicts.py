"""What ranks know together of a step, in one process and on two."""

from __future__ import annotations

import math
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from metered import Reads

from scaling.train.engines.protocol import StepReport
from scaling.train.step_verdicts import StepVerdicts, Verdict

CPU = torch.device("cpu")
GOOD = StepReport(gradient_norm=1.0, was_skipped=False)


def losses(*values: float) -> dict[str, torch.Tensor]:
    return {f"part {number}": torch.tensor(value) for number, value in enumerate(values)}


def verdict_on(values: dict[str, torch.Tensor], report: StepReport, *, stop: bool = False) -> Verdict | None:
    verdicts = StepVerdicts(CPU)
    verdicts.ask(3, values, report, stop=stop)
    return verdicts.answer()


def test_a_step_is_asked_about_once() -> None:
    verdicts = StepVerdicts(CPU)
    assert verdicts.answer() is None
    verdicts.ask(3, losses(0.5), GOOD, stop=False)
    assert verdicts.answer() == Verdict(step=3, is_stop_asked=False, non_finite=None)
    assert verdicts.answer() is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_any_loss_any_norm_and_a_step_that_was_skipped_count(bad: float) -> None:
    norms: list[Any] = [bad, torch.tensor(bad), torch.tensor([bad])]
    for report in [StepReport(gradient_norm=norm, was_skipped=False) for norm in norms]:
        assert verdict_on(losses(0.5), report) == Verdict(step=3, is_stop_asked=False, non_finite="gradient")
    skipped = StepReport(gradient_norm=2.0, was_skipped=True)
    assert verdict_on(losses(0.5), skipped) == Verdict(step=3, is_stop_asked=False, non_finite="gradient")
    both = verdict_on(
        losses(0.5, bad), StepReport(gradient_norm=torch.tensor(bad), was_skipped=True), stop=True
    )
    assert both == Verdict(step=3, is_stop_asked=True, non_finite="loss")


def test_asking_reads_nothing_from_the_device() -> None:
    verdicts, norm = StepVerdicts(CPU), torch.tensor(1.0)
    values = losses(0.5, 0.25)
    with Reads() as reads:
        verdicts.ask(3, values, StepReport(gradient_norm=norm, was_skipped=False), stop=False)
    assert reads.readers == []
    with Reads() as reads:
        verdicts.answer()
    assert reads.readers, "the count itself works"


def _rank(rank: int, folder: str) -> None:
    """Rank 1 alone has a bad loss in step 1 and is told to stop in step 2; rank 0 arrives late at every step."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", rank=rank, world_size=2, init_method=meeting)
    verdicts, found = StepVerdicts(CPU), []
    for step in range(4):
        time.sleep(0.2 * (rank == 0))
        verdict = verdicts.answer()
        if verdict is not None:
            found.append((verdict.step, verdict.is_stop_asked, verdict.non_finite))
        bad, stop = rank == 1 and step == 1, rank == 1 and step == 2
        verdicts.ask(step, losses(0.5, math.nan if bad else 0.5), GOOD, stop=stop)
    verdicts.answer()
    Path(folder, f"{rank}.txt").write_text(repr(found))
    dist.destroy_process_group()


@pytest.mark.slow
def test_all_ranks_learn_after_the_same_step_what_happened_on_one(tmp_path: Path) -> None:
    multiprocessing.set_forkserver_preload(["torch"])
    torch.multiprocessing.start_processes(_rank, args=(str(tmp_path),), nprocs=2, start_method="forkserver")
    for rank in range(2):
        found = (tmp_path / f"{rank}.txt").read_text()
        assert found == repr([(0, False, None), (1, False, "loss"), (2, True, None)]), rank
