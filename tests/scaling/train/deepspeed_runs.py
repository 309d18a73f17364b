"""What one rank of a process group does with DeepSpeed engines: `python deepspeed_runs.py RANK RANKS PORT FOLDER`.

Rank 0 writes what it found to FOLDER/found-RANKS.json, and whole states to FOLDER/state-RANKS-LAYOUT.pt. One rank
continues from the states that two have written.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from deepspeed_cases import CASES, END, GROUPED, HALF, LAYOUTS, LIT, bounded_objective, layouts
from engine_oracle import Case, batch_of, objective_of, restore, rows_of, settings_of, state_of, train
from torch import Tensor

from model_zoo.targets import KnownShare
from scaling.data.images.augmentation import Augmentation
from scaling.data.images.device_augmentation import prepare


class Runs:
    """The scenarios, in the order they run."""

    def __init__(self, rank: int, num_ranks: int, folder: Path) -> None:
        self.rank, self.num_ranks, self.folder = rank, num_ranks, folder
        self.layouts = layouts(num_ranks)

    def engine(self, case: Case, layout: str, objective: Any = None, **changes: Any) -> Any:
        """An engine in small buckets, whose every step must be told its learning rate."""
        from scaling.train.engines import build_engine

        fields = {"bucket_elements": 60_001, "learning_rate": 1.0, **LAYOUTS[layout], **changes}
        settings = settings_of(case, self.num_ranks, **fields)
        return build_engine("deepspeed", objective_of(case) if objective is None else objective, settings)

    def train(self, engine: Any, case: Case, steps: Any = None) -> list[list[float]]:
        """[loss, norm] of each step."""
        rows = train(engine, case, steps, rank=self.rank, num_ranks=self.num_ranks)
        return [[row.loss, row.norm] for row in rows]

    def losses(self) -> dict[str, Any]:
        """Of all cases in all layouts, and how many steps AdamW thinks it has made."""
        found: dict[str, Any] = {}
        for name, case in CASES.items():
            for layout in self.layouts:
                engine = self.engine(case, layout)
                rows = self.train(engine, case)
                found[f"{name} {layout}"] = [rows, engine.optimizer_steps, adam_steps(engine)]
        return found

    def bounded(self) -> dict[str, Any]:
        """Losses where the first step must bring the logit scale down to its bound, and the scale at the end."""
        found = {}
        for layout in self.layouts:
            engine = self.engine(CASES["clip"], layout, bounded_objective())
            rows = self.train(engine, CASES["clip"], range(HALF))
            found[layout] = [rows, engine.weights().get("logit_scale", torch.zeros(1)).item()]
        return found

    def initial(self) -> dict[str, bool]:
        """Whether the weights before the first step are those of the objective, and the moments are zeros."""
        found = {}
        for layout in self.layouts:
            case = CASES["cached"]
            engine, wanted = self.engine(case, layout), objective_of(case).state_dict()
            weights, state = engine.weights(), state_of(engine)
            is_right = {name for name, kind in state if kind == "weight"} == wanted.keys()
            for (name, kind), values in state.items():
                is_right &= torch.equal(values, wanted[name].flatten() if kind == "weight" else 0 * values)
            if self.rank == 0:
                is_right &= all(torch.equal(weights[name], value) for name, value in wanted.items())
            else:
                is_right &= weights == {}
            found[layout] = is_right
        return found

    def resumed(self) -> dict[str, Any]:
        """The second halves of runs that were taken over by the same layout, and by another."""
        case = CASES["clip"]
        found: dict[str, Any] = {}
        for layout in self.layouts:
            first = self.engine(case, layout)
            self.train(first, case, range(HALF))
            state = state_of(first)
            torch.save(state, self.folder / f"state-{self.num_ranks}-{layout}.pt")
            undisturbed = self.train(first, case, range(HALF, END))
            second = self.engine(case, layout)
            restore(second, state, HALF)
            found[layout] = [undisturbed, self.train(second, case, range(HALF, END))]
            assert second.optimizer_steps == adam_steps(second) == END
        names = list(LAYOUTS)
        for writer, layout in zip(names[-1:] + names[:-1], names, strict=True):
            state = torch.load(self.folder / f"state-2-{writer}.pt")  # of two ranks, also where there is one
            engine = self.engine(case, layout)
            restore(engine, state, HALF)
            found[f"{writer} by {layout}"] = self.train(engine, case, range(HALF, END))
        return found

    def skipped(self) -> dict[str, Any]:
        """What a step with a gradient that is not finite on the last rank alone does."""
        case, found = CASES["superclass"], {}
        for layout in self.layouts:
            engine = self.engine(case, layout)
            before = self.train(engine, case, range(HALF))
            old = state_of(engine)
            factor = torch.nan if self.rank == self.num_ranks - 1 else 1.0
            self.half_step(engine, case, factor)
            report = engine.step(case.learning_rate)
            new = state_of(engine)
            is_same = all(torch.equal(new[key], value) for key, value in old.items())
            steps = [engine.optimizer_steps, adam_steps(engine)]
            after = self.train(engine, case, range(HALF, END))
            is_finite = bool(torch.isfinite(torch.as_tensor(report.gradient_norm)))
            found[layout] = [report.was_skipped, is_finite, is_same, steps, before + after]
        return found

    def half_step(self, engine: Any, case: Case, factor: float = 1.0) -> None:
        """Forward and backward of step 99's batch times `factor`, no step."""
        batch = rows_of(batch_of(case, 99), self.rank, self.num_ranks)
        for start in range(0, len(batch), case.micro_batch):
            rows = slice(start, start + case.micro_batch)
            images_BCHW = prepare(batch, rows, Augmentation(), engine.device) * factor
            targets = batch.targets.rows(rows.start, rows.stop)
            engine.backward(engine.losses(images_BCHW, targets, KnownShare(1.0))["loss"])

    def dropped(self) -> dict[str, Any]:
        """Steps after a state was taken over in the middle of a step, and the same steps undisturbed."""
        case, found = CASES["accumulated"], {}
        for layout in self.layouts:
            engine = self.engine(case, layout)
            self.train(engine, case, range(2))
            state = state_of(engine)
            undisturbed = self.train(engine, case, range(2, 4))
            self.half_step(engine, case)
            restore(engine, state, 2)
            found[layout] = [undisturbed, self.train(engine, case, range(2, 4))]
        return found

    def whole(self) -> dict[str, Any]:
        """What the whole objective is, and that it is gone with the next step."""
        case, found = CASES["clip"], {}
        for layout in self.layouts:
            objective = objective_of(case)
            objective.image_tower.register_buffer("unsaved", torch.arange(3.0), persistent=False)
            engine = self.engine(case, layout, objective)
            self.train(engine, case, range(3))
            whole, weights = engine.whole_objective(), engine.weights()
            is_right = torch.equal(whole.image_tower.unsaved, torch.arange(3.0)) and whole.training
            if self.rank == 0:  # alone: with a collective in it, this would never end
                is_right &= all(
                    torch.equal(value, weights[name]) for name, value in whole.state_dict().items()
                )
                is_right &= is_finite(whole.eval(), case)
                whole.train()
            self.train(engine, case, range(3, 4))
            freed = sum(parameter.numel() for parameter in whole.parameters()) == 0
            again = engine.whole_objective()
            parameters = zip(again.named_parameters(), [*engine.weights().items()], strict=self.rank == 0)
            is_right &= all(torch.equal(value, now) for (_, value), (_, now) in parameters)
            found[layout] = [is_right, freed]
        return found

    def buffers(self) -> dict[str, Any]:
        """Losses and running statistics of a tower with batch norm, a skipped step between the first and the second."""
        found = {}
        for layout in ("1", "3"):
            engine = self.engine(GROUPED, layout)
            rows = self.train(engine, GROUPED, range(1))
            self.half_step(engine, GROUPED, torch.nan)
            assert engine.step(GROUPED.learning_rate).was_skipped
            rows += self.train(engine, GROUPED, range(1, GROUPED.num_steps))
            here = torch.cat([p.values.double() for p in engine.pieces() if p.kind == "buffer"])
            on_rank_0 = here.clone()
            torch.distributed.broadcast(on_rank_0, 0)
            state = state_of(engine)
            means = [v.sum().item() for (name, _), v in state.items() if name.endswith("running_mean")]
            found[layout] = [rows, torch.equal(here, on_rank_0), means]
        return found

    def locked(self) -> dict[str, Any]:
        """A locked tower: what it has pieces of, and steps after it was taken over."""
        found = {}
        for layout in ("1", "3", "3-all"):
            engine = self.engine(LIT, layout)
            self.train(engine, LIT, range(2))
            state = state_of(engine)
            kinds = sorted({kind for name, kind in state if name.startswith("image_tower.")})
            undisturbed = self.train(engine, LIT, range(2, 4))
            other = objective_of(LIT)
            torch.nn.init.zeros_(other.image_tower.patch_embed.proj.weight)
            second = self.engine(LIT, layout, other)
            restore(second, state, 2)
            found[layout] = [kinds, undisturbed, self.train(second, LIT, range(2, 4))]
        return found

    def refused(self) -> list[str]:
        """What an objective with a 0-dimensional parameter is told, and compiled blocks in stage 3."""
        case = CASES["clip"]
        objective = objective_of(case)
        objective.logit_scale = torch.nn.Parameter(torch.tensor(1.0))
        engines = [lambda: self.engine(case, "1", objective), lambda: self.engine(case, "3", compile=True)]
        return [error_of(build) for build in engines]

    def bf16(self) -> dict[str, Any]:
        """Losses under autocast, in the stages that train in it."""
        case = Case(micro_batch=4, num_steps=4, bf16_autocast=True)
        return {layout: self.train(self.engine(case, layout), case) for layout in ("1", "2", "3")}


def error_of(build: Callable[[], Any]) -> str:
    """The message of the ValueError; empty if there is none."""
    try:
        build()
    except ValueError as error:
        return str(error)
    return ""


def adam_steps(engine: Any) -> int:
    """The steps that AdamW's bias correction counts, the same for all it steps."""
    steps = {int(state["step"]) for state in engine._adamw.state.values()}
    assert len(steps) == 1, steps
    return steps.pop()


def is_finite(objective: Any, case: Case) -> bool:
    """Whether the objective embeds images to finite numbers."""
    images_BCHW = torch.ones(2, 3, case.image_size, case.image_size)
    with torch.no_grad():
        embedded: Tensor = objective.encode_image(images_BCHW)
    return bool(embedded.isfinite().all())


def scenarios(runs: Runs) -> Iterator[tuple[str, Any]]:
    """Name and outcome of each."""
    # bf16 first: stage 3 replaces torch's linear layer in the whole process
    for name in "bf16 losses bounded initial resumed skipped dropped whole buffers locked refused".split():
        yield name, getattr(runs, name)()


def main(rank: int, num_ranks: int, port: int, folder: Path) -> None:
    """Run all scenarios."""
    import deepspeed

    from scaling.train.engines import deepspeed_configuration

    # so that stage 3 shards these small towers as it would large ones
    deepspeed_configuration.PERSISTENT_ELEMENTS = 1
    deepspeed.init_distributed(verbose=False)
    found = dict(scenarios(Runs(rank, num_ranks, folder)))
    if rank == 0:
        (folder / f"found-{num_ranks}.json").write_text(json.dumps(found))
    print(f"CPU seconds: {time.process_time():.1f}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    rank, num_ranks, port = map(int, sys.argv[1:4])
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        "LOCAL_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "DS_ACCELERATOR": "cpu",
    }
    main(rank, num_ranks, port, Path(sys.argv[4]))
