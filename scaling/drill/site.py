"""Where drills take place: a folder with a rendered data set, tiny sweeps over it, and launches of them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from scaling.data.rendering.rendered import RenderSettings, render
from scaling.drill.faults import CHECKPOINT_STEPS, HELD, NUM_STEPS
from scaling.drill.processes import MARK, Process, left_behind, processes_of, send
from scaling.points import RunPoint, resolve_points
from scaling.records import RunDirectory, run_directories
from scaling.spec import load_sweep

NUM_RANKS = 2
GLOBAL_BATCH = 16
MICRO_BATCH = GLOBAL_BATCH // NUM_RANKS
LAUNCH_SECONDS = 600.0  # for any launch of a drill; one takes 15 s on two idle cores
POLL_SECONDS = 0.1

NAME = "drill"  # of every sweep here

RENDERING = RenderSettings(
    train=192, validation=16, held_out=16, word_order=16, labelled_train=16, labelled_test=16, image_size=32
)

SWEEP: dict[str, Any] = {
    "name": NAME,
    "question": "Does every fault end as it should?",
    "fixed": {
        "objective": "superclass",
        "image_tower": "vit_nano8",
        "image_size": 32,
        "tokenizer": "clip_bpe_4k",
        "context_length": 16,
        "global_batch": GLOBAL_BATCH,
        "samples_seen": NUM_STEPS * GLOBAL_BATCH,
        "warmup_samples": 4 * GLOBAL_BATCH,
        "learning_rate": 1e-3,
        "precision": "fp32",
        "checkpoint_every_samples": CHECKPOINT_STEPS * GLOBAL_BATCH,
        "num_workers": 0,
    },
    "evaluate": {"tasks": ["held_out_loss"], "batch": 16},
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A launch that is over."""

    status: int
    output: str
    left_behind: tuple[str, ...] = ()  # processes, scratch folders, shared memory


class Site:
    """A folder of drills."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)

    @functools.cached_property
    def data(self) -> Path:
        """The data set, drawn when it is first asked for."""
        folder = self.folder / "data"
        render(folder, RENDERING, workers=1, progress=False)
        return folder

    def sweep(self, name: str, *, train: str = "", **fields: Any) -> Path:
        """The file of a tiny sweep: `fields` over SWEEP, of which lists are axes; `seeds`, `skip`."""
        raw = {**SWEEP, "fixed": dict(SWEEP["fixed"]), "vary": {}}
        raw["data"] = {
            "train": train or str(self.data / "train"),
            "validation": str(self.data / "validation"),
            "cache": str(self.folder / "cache"),
        }
        raw["seeds"], raw["skip"] = fields.pop("seeds", [0]), fields.pop("skip", [])
        for key, value in fields.items():
            raw["fixed"].pop(key, None)
            raw["vary" if isinstance(value, list) else "fixed"][key] = value
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(raw))
        return path

    def points(self, sweep: Path, num_ranks: int = NUM_RANKS) -> list[RunPoint]:
        """The points of a sweep, in the order in which a launch comes to them."""
        return resolve_points(load_sweep(sweep), num_ranks=num_ranks)

    @property
    def undisturbed(self) -> Path:
        """Where runs are that nothing happened to."""
        return self.folder / "undisturbed"

    def train_undisturbed(self, seeds: Sequence[int]) -> Ended | None:
        """Train those seeds undisturbed that are not yet; the launch it took, if any."""
        runs = {seed: find_run(self.undisturbed, seed) for seed in seeds}
        missing = [seed for seed, run in runs.items() if run is None or run.read_record() is None]
        if not missing:
            return None
        return self.launch(self.sweep("undisturbed", seeds=missing), self.undisturbed).end()

    def launch(
        self, sweep: Path, runs: Path, *, num_ranks: int = NUM_RANKS, drill: str = "", retry: bool = False
    ) -> Launch:
        """`scaling launch` of a sweep, started."""
        options = [*(["--drill", drill] if drill else []), *(["--retry-failed"] if retry else [])]
        return Launch(self.folder / f"launch-{next(self._numbers)}", sweep, runs, num_ranks, options)


class Launch:
    """A launch that runs."""

    def __init__(self, folder: Path, sweep: Path, runs: Path, num_ranks: int, options: Sequence[str]) -> None:
        self._folder = folder
        self._temporary = folder / "t"  # short: names of sockets are limited
        self._temporary.mkdir(parents=True)
        self.runs = runs
        self._since = time.time()
        scaling = str(Path(sys.executable).with_name("scaling"))
        command = [scaling, "launch", str(sweep), "--nproc", str(num_ranks), "--runs", str(runs), *options]
        self._output = folder / "output.txt"
        with open(self._output, "w") as stream:
            self._process = subprocess.Popen(
                command, cwd=folder, env=self._environment(), stdout=stream, stderr=subprocess.STDOUT
            )

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, MARK: str(self._folder), "TMPDIR": str(self._temporary)}
        if num_gpus() < NUM_RANKS:  # one for every rank, or the CPU for all
            environment["CUDA_VISIBLE_DEVICES"] = ""
        return environment

    def run(self, seed: int) -> RunDirectory | None:
        """The folder of the run of a seed, None as long as there is none."""
        return find_run(self.runs, seed)

    @property
    def output(self) -> str:
        """What it has printed until now."""
        return self._output.read_text()

    def processes(self) -> list[Process]:
        """Its processes: supervisor, launchers, ranks, their fork servers and children."""
        return processes_of(str(self._folder))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor alone."""
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Whether the condition came true while the launch ran."""
        deadline = time.monotonic() + LAUNCH_SECONDS
        while not condition():
            if self.has_ended() or time.monotonic() > deadline:
                return condition()
            time.sleep(POLL_SECONDS)
        return True

    def end(self) -> Ended:
        """Wait for its end and look at what it left; after LAUNCH_SECONDS it is killed, which shows as both."""
        ended = self.wait()
        return dataclasses.replace(ended, left_behind=self.left_behind())

    def wait(self) -> Ended:
        """Wait for its end, or for LAUNCH_SECONDS."""
        try:
            status = self._process.wait(LAUNCH_SECONDS)
        except subprocess.TimeoutExpired:
            status = -int(signal.SIGKILL)
        return Ended(status=status, output=self.output)

    def left_behind(self) -> tuple[str, ...]:
        """What it has left on this machine, now that it and all other launches of its runs have ended."""
        logs = list(self.runs.glob(f"{NAME}/*/log-rank*.txt"))
        left = left_behind(str(self._folder), self._temporary, logs, self._since)
        self.kill()
        return tuple(left)

    def kill(self) -> None:
        """End every process of it at once; nothing if all have ended."""
        send(self.processes(), signal.SIGKILL)
        self._process.wait()


def find_run(runs: Path, seed: int) -> RunDirectory | None:
    """The run of a seed below a folder of runs, None if there is none."""
    for run in run_directories(runs / NAME):
        if RunPoint.model_validate_json(run.point.read_text()).science.seed == seed:
            return run
    return None


def is_held(runs: Path, seed: int) -> bool:
    """Whether the run of a seed has begun and waits for the drill."""
    run = find_run(runs, seed)
    return run is not None and (run.path / HELD).exists()


def num_gpus() -> int:
    """GPUs that this process may use; asking initialises none of them."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    return torch.cuda.device_count()
