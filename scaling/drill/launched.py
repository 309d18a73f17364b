"""Launches of tiny sweeps: starts, watches and ends them, and looks for what they left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scaling.drill.processes import MARK, Process, left_behind, processes_of, send
from scaling.points import RunPoint
from scaling.processes.drilled_faults import HELD
from scaling.processes.residue import remove_orphans
from scaling.records import RunDirectory, run_directories

NUM_RANKS = 2
LAUNCH_SECONDS = 600.0  # for any launch of a drill; one takes 15 s on two idle cores
POLL_SECONDS = 0.1
NAME = "drill"  # of every sweep here


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A launch that has ended."""

    status: int
    output: str
    left_behind: tuple[str, ...] = ()  # processes, scratch folders, shared memory


class Launch:
    """A running launch."""

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
        """Wait for its end and look for what it left; after LAUNCH_SECONDS it is killed, which its result shows."""
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
        """What it left on this machine; to be asked once it and all other launches of its runs have ended."""
        logs = list(self.runs.glob(f"{NAME}/*/log-rank*.txt"))
        left = left_behind(str(self._folder), self._temporary, logs, self._since)
        self.kill()
        return tuple(left)

    def kill(self) -> None:
        """End every process of it at once and clear up behind them; nothing if all have ended."""
        while left := self.processes():
            send(left, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        self._process.wait()
        remove_orphans(self._temporary)


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
