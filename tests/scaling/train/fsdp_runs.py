"""What the ranks of a process group do with FSDP engines, for test_fsdp_engine.py to look at.

States are written half way to FOLDER/state-RANKS-LAYOUT-CASE.pt; one rank continues from what two have written.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from engine_oracle import Case, batch_of, objective_of, restore, rows_of, settings_of, state_of, train
from torch.distributed.tensor.debug import CommDebugMode

from model_zoo.targets import KnownShare
from scaling.data.images.augmentation import Augmentation
from scaling.data.images.device_augmentation import prepare
from scaling.train.engines import build_engine
from scaling.train.engines.protocol import Engine

LAYOUTS: dict[str, dict[str, Any]] = {
    "3": {"zero_stage": 3},
    "2": {"zero_stage": 2},
    "offload": {"offload": "all"},
    "replicas": {"shard_ranks": 1},
}
"""ZeRO stages, offloading, and a replica on every rank."""

# below ln(1/0.07), where the logit scale starts: the first step is bounded, the second starts there
BOUND = 2.64

CASES = {
    "superclass": Case(micro_batch=4, learning_rate=1e-2),
    "accumulated": Case(micro_batch=2, gradient_clipping=0.5),
    "clip": Case(objective="clip", micro_batch=4, logit_scale_max=BOUND),
    "cached": Case(objective="superclip", micro_batch=2, gradient_clipping=0.5, logit_scale_max=BOUND),
}
"""Global batches of 8: one or two ranks accumulate over 2 or 4 and 1 or 2 micro-batches."""

HALF = 5
LIT = Case(objective="lit", micro_batch=4, num_steps=4)
GROUPED = Case(
    image_tower="resnet_nano",
    image_size=64,
    micro_batch=4,
    num_steps=3,
    learning_rate=1e-4,
    changes=(("batch_norm_samples", 4),),
)
DROPPING = Case(
    objective="clip", micro_batch=2, num_steps=3, changes=(("drop_path", 0.3), ("patch_dropout", 0.5))
)
AUTOCAST = {
    objective: Case(objective=objective, micro_batch=4, num_steps=5, bf16_autocast=True)
    for objective in ("superclass", "clip")
}
RECOMPUTING = ("none", "blocks", "operations", "offload")


def run_ranks(function: Callable[..., Any], num_ranks: int, folder: Path) -> list[Any]:
    """What function(rank, num_ranks, folder) returned on each rank of a gloo group."""
    multiprocessing.set_forkserver_preload(["torch", "timm.models.vision_transformer"])
    arguments = (function, num_ranks, str(folder))
    torch.multiprocessing.start_processes(_rank, args=arguments, nprocs=num_ranks, start_method="forkserver")
    return [
        torch.load(folder / f"found-{num_ranks}-{rank}.pt", weights_only=False) for rank in range(num_ranks)
    ]


def _rank(rank: int, function: Callable[..., Any], num_ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", rank=rank, world_size=num_ranks, init_method=f"file://{folder}/rendezvous-{num_ranks}"
    )
    found = function(rank, num_ranks, Path(folder))
    torch.save(found, f"{folder}/found-{num_ranks}-{rank}.pt")
    dist.destroy_process_group()


def on_two_ranks(rank: int, num_ranks: int, folder: Path) -> dict[str, Any]:
    """Everything that takes two ranks."""
    runs = Runs(rank, num_ranks, folder)
    return {
        "whole runs": {(layout, case): runs.whole_run(layout, case) for layout in LAYOUTS for case in CASES},
        "from plain": runs.continued("3", "clip", "state-plain.pt"),
        "starts": {layout: runs.start(layout) for layout in LAYOUTS},
        "not finite": {layout: runs.not_finite(layout) for layout in LAYOUTS},
        "lit": runs.locked_tower(),
        "grouped": runs.grouped_norms(),
        "whole objective": {layout: runs.whole_objective(layout) for layout in LAYOUTS},
        "in two stages": runs.in_two_stages(),
        "recomputing": {mode: runs.recomputing(mode) for mode in RECOMPUTING},
        "communications": [runs.communications(micro_batch) for micro_batch in (4, 1)],
    }


def on_one_rank(rank: int, num_ranks: int, folder: Path) -> dict[str, Any]:
    """Whole runs, and what two ranks began, continued."""
    runs = Runs(rank, num_ranks, folder)
    return {
        "whole runs": {
            (layout, case): runs.whole_run(layout, case) for layout in ("3", "2") for case in CASES
        },
        "from two ranks": {
            (layout, case): runs.continued("3", case, f"state-2-{layout}-{case}.pt")
            for layout in LAYOUTS
            for case in ("accumulated", "clip")
        },
        "compiled": runs.compiled(),
        "bf16": {case: runs.autocast(case) for case in AUTOCAST},
    }


def on_four_ranks(rank: int, num_ranks: int, folder: Path) -> dict[str, Any]:
    """Two replicas, each over two ranks; and one replica over all, which is more than some tensors have rows."""
    case = dataclasses.replace(CASES["clip"], micro_batch=2, num_steps=4, gradient_clipping=0.5)
    found: dict[str, Any] = {"case": case}
    for shard_ranks in (2, 4):
        engine = build_engine("fsdp", objective_of(case), settings_of(case, 4, shard_ranks=shard_ranks))
        rows = train(engine, case, rank=rank, num_ranks=4)
        found[f"{shard_ranks}"] = rows, state_of(engine)
    return found


class Runs:
    """The scenarios on one rank."""

    def __init__(self, rank: int, num_ranks: int, folder: Path) -> None:
        self._rank, self._num_ranks, self._folder = rank, num_ranks, folder

    def _engine(self, case: Case, layout: str) -> Any:
        return build_engine("fsdp", objective_of(case), settings_of(case, self._num_ranks, **LAYOUTS[layout]))

    def _train(self, engine: Engine, case: Case, steps: range | None = None) -> list[Any]:
        return train(engine, case, steps, rank=self._rank, num_ranks=self._num_ranks)

    def whole_run(self, layout: str, name: str) -> dict[str, Any]:
        """A run in one go, and the same cut in half and continued by a new engine."""
        case = CASES[name]
        engine = self._engine(case, layout)
        first = self._train(engine, case, range(HALF))
        state = state_of(engine)
        if self._rank == 0:
            torch.save((state, HALF), self._folder / f"state-{self._num_ranks}-{layout}-{name}.pt")
        rest = self._train(engine, case, range(HALF, case.num_steps))
        new = self._engine(case, layout)
        restore(new, state, HALF)
        again = self._train(new, case, range(HALF, case.num_steps))
        steps = {float(moments["step"]) for moments in engine._optimizer.state.values()}
        counted = (engine.optimizer_steps, new.optimizer_steps, *steps)
        return {"rows": first + rest, "rest": rest, "again": again, "steps": counted, "end": state_of(engine)}

    def continued(self, layout: str, name: str, file: str) -> list[Any]:
        """The second half of a run whose first half others made."""
        engine = self._engine(CASES[name], layout)
        state, steps = torch.load(self._folder / file, weights_only=False)
        restore(engine, state, steps)
        return self._train(engine, CASES[name], range(HALF, CASES[name].num_steps))

    def start(self, layout: str) -> Any:
        """The state before the first step."""
        return state_of(self._engine(CASES["clip"], layout))

    def not_finite(self, layout: str) -> dict[str, Any]:
        """A step whose gradient is infinite on the last rank, and a good one after it."""
        case = dataclasses.replace(CASES["clip"], micro_batch=4, gradient_clipping=0.5)
        engine = self._engine(case, layout)
        self._train(engine, case, range(1))
        before = state_of(engine)
        batch = rows_of(batch_of(case, 1), self._rank, self._num_ranks)
        images = prepare(batch, slice(0, 4), Augmentation(), engine.device)
        loss = engine.losses(images, batch.targets, KnownShare(4.0))["loss"]
        engine.backward(loss * (float("inf") if self._rank == self._num_ranks - 1 else 1.0))
        report = engine.step(case.learning_rate)
        after, steps = state_of(engine), engine.optimizer_steps
        good = self._train(engine, case, range(2, 3))
        return {
            "report": (report.was_skipped, float(report.gradient_norm)),
            "before": before,
            "after": after,
            "steps": (steps, engine.optimizer_steps),
            "good": good,
        }

    def locked_tower(self) -> dict[str, Any]:
        engine = self._engine(LIT, "3")
        before = state_of(engine)
        return {"before": before, "rows": self._train(engine, LIT), "after": state_of(engine)}

    def grouped_norms(self) -> tuple[list[Any], Any, Any]:
        engine = self._engine(GROUPED, "3")
        rows = self._train(engine, GROUPED)
        own = {name: value.clone() for name, value in engine.objective.named_buffers()}
        return rows, state_of(engine), own

    def whole_objective(self, layout: str) -> dict[str, Any]:
        """The last rank evaluates by itself while the others do something else."""
        case = CASES["clip"]
        engine = self._engine(case, layout)
        self._train(engine, case, range(2))
        engine.objective.eval()
        whole, loss = engine.whole_objective(), None
        batch = batch_of(case, 7)
        images = prepare(batch, slice(0, 8), Augmentation(), engine.device)
        if self._rank == self._num_ranks - 1:
            with torch.no_grad():
                loss = whole(images, batch.targets, KnownShare(6.0))["loss"].item()
        engine.objective.train()
        weights, state = engine.weights(), state_of(engine)
        rows = self._train(engine, case, range(2, 4))
        return {
            "loss": loss,
            "weights": weights,
            "state": state,
            "rows": rows,
            "left": sum(parameter.numel() for parameter in whole.parameters() if not parameter.is_meta),
            "twice": engine.whole_objective() is engine.whole_objective(),
        }

    def in_two_stages(self) -> list[float]:
        """Losses of steps that encode and compare in separate calls, a micro-batch a step."""
        case = CASES["clip"]
        engine = self._engine(case, "3")
        losses = []
        for step in range(3):
            batch = rows_of(batch_of(case, step), self._rank, self._num_ranks)
            images = prepare(batch, slice(0, 4), Augmentation(), engine.device)
            loss = engine.losses_of(engine.encode(images, batch.targets), batch.targets, KnownShare(3.0))[
                "loss"
            ]
            engine.backward(loss)
            engine.step(case.learning_rate)
            total = loss.detach().clone()
            dist.all_reduce(total)
            losses.append(total.item() / self._num_ranks)
        return losses

    def recomputing(self, mode: str) -> list[Any]:
        case = dataclasses.replace(DROPPING, building=(("activation_checkpointing", mode),))
        torch.manual_seed(self._rank)
        return self._train(self._engine(case, "3"), case)

    def compiled(self) -> tuple[list[Any], int]:
        """A few steps with compiled blocks that recompute, and how many graphs those made."""
        building = (("activation_checkpointing", "operations"),)
        case = dataclasses.replace(CASES["superclass"], num_steps=3, building=building)
        engine = build_engine("fsdp", objective_of(case), settings_of(case, self._num_ranks, compile=True))
        rows = self._train(engine, case)
        return rows, torch._dynamo.utils.counters["stats"]["unique_graphs"]

    def autocast(self, name: str) -> tuple[list[Any], set[torch.dtype]]:
        engine = self._engine(AUTOCAST[name], "3")
        return self._train(engine, AUTOCAST[name]), {piece.values.dtype for piece in engine.pieces()}

    def communications(self, micro_batch: int) -> int:
        """Gradient reductions of one step."""
        case = Case(micro_batch=micro_batch)
        engine = self._engine(case, "3")
        with CommDebugMode() as mode:
            self._train(engine, case, range(1))
        return sum(count for op, count in mode.get_comm_counts().items() if "reduce_scatter" in str(op))
