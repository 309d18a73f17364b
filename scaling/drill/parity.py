"""The parity certificate: every engine must train as plain torch does, from the start and from checkpoints.

Checkpoints are an engine's own or another's.  The ranks of a world size are started once and build one engine after the
other.  Other processes than wrote a checkpoint continue it, from what a kill some steps later leaves.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from scaling.checkpoints.names import folder_name
from scaling.drill.launched import NUM_RANKS, num_gpus
from scaling.drill.parity_cases import (
    CUT_STEP,
    KILLED_AFTER,
    LAYOUTS,
    OBJECTIVES,
    Case,
    Job,
    cases_of,
    write_jobs,
)
from scaling.drill.parity_child import train_jobs
from scaling.drill.parity_table import Certificate
from scaling.drill.processes import left_in_shared_memory
from scaling.drill.site import GLOBAL_BATCH, Site
from scaling.launching.children import Child, start_server
from scaling.plan import plan_sweep
from scaling.points import RunPoint
from scaling.processes.assignment import Assignment, Outcome, joint_outcome
from scaling.processes.drilled_faults import NUM_STEPS
from scaling.processes.ranks import Rank, free_port
from scaling.processes.residue import claim_scratch, remove_point
from scaling.records import RunDirectory, cut_lines_from

GROUP_SECONDS = 900.0  # for all cases of a world size; a few seconds each on an idle core
POLL_SECONDS = 0.1
MICRO_BATCH = GLOBAL_BATCH // 4
"""The same on one rank and on two, so that every engine accumulates, or caches features for a contrastive loss."""

# below all norms here, so that every step clips; not 1.0, which DeepSpeed takes when it is not told
GRADIENT_CLIPPING = 1.2


class GroupFailed(RuntimeError):
    """The ranks of a world size did not come to their end."""


def certify(site: Site) -> tuple[Table, bool]:
    """The table of all cases, and whether all passed."""
    has_enough = num_gpus() == 0 or num_gpus() >= NUM_RANKS
    layouts = [layout for layout in LAYOUTS if has_enough or layout.num_ranks == 1]
    cases = cases_of(layouts)
    work, began = _Work(site), time.time()
    fresh = [case for case in cases if case.mode == "fresh"]
    work.train(fresh)
    continued = [case for case in cases if case.mode != "fresh"]
    for case in continued:
        source = next(
            other for other in fresh if (other.objective, other.layout) == (case.objective, case.writer)
        )
        _cut_back(work.folder(source), work.folder(case))
    work.train(continued)
    certificate = Certificate(work.folder, is_exact=num_gpus() == 0)
    left = left_in_shared_memory(site.folder.glob("parity/group-*/log-rank*.txt"), began)
    notes = [
        *([] if has_enough else [f"layouts of {NUM_RANKS} ranks need as many GPUs"]),
        f"left behind: {', '.join(left) or 'nothing'}",
    ]
    return certificate.table(cases, notes), certificate.is_passed(cases) and not left


class _Work:
    """Trains cases, in groups of the same number of ranks."""

    def __init__(self, site: Site) -> None:
        self._folder = site.folder / "parity"
        self._accelerator = "cuda" if num_gpus() else "cpu"
        self._points: dict[tuple[str, int], RunPoint] = {}
        self._planned: dict[tuple[str, int], str] = {}
        for num_ranks in (1, NUM_RANKS):
            sweep = site.sweep(
                f"parity-{num_ranks}",
                objective=list(OBJECTIVES),
                micro_batch=MICRO_BATCH,
                gradient_clipping=GRADIENT_CLIPPING,
                checkpoint_every_samples=CUT_STEP * GLOBAL_BATCH,
            )
            points = site.points(sweep, num_ranks)
            for planned in plan_sweep(points, "cpu_core").points:
                key = planned.point.science.objective, num_ranks
                self._points[key] = planned.point
                self._planned[key] = planned.cost.model_dump_json()

    def folder(self, case: Case) -> Path:
        """Where a case's run is."""
        return self._folder / case.key

    def train(self, cases: Sequence[Case]) -> None:
        """Train the cases: those of one rank side by side, by objective, then those of several ranks."""
        by_group: dict[tuple[int, str], list[Case]] = {}
        for case in cases:
            num_ranks = case.layout.num_ranks
            by_group.setdefault((num_ranks, case.objective if num_ranks == 1 else ""), []).append(case)
        for num_ranks in sorted({num_ranks for num_ranks, _ in by_group}):
            groups = [
                _Group(self._folder, num_ranks, self._accelerator, [self._job(case) for case in members])
                for (size, _), members in by_group.items()
                if size == num_ranks
            ]
            try:
                for group in groups:
                    group.wait()
            finally:
                for group in groups:
                    group.end()

    def _job(self, case: Case) -> Job:
        self.folder(case).mkdir(parents=True, exist_ok=True)
        key = case.objective, case.layout.num_ranks
        return Job(
            point=self._points[key].model_dump_json(),
            planned=self._planned[key],
            engine=case.layout.engine,
            zero_stage=case.layout.zero_stage,
            folder=self.folder(case),
        )


class _Group:
    """The processes of one world size, started."""

    def __init__(self, folder: Path, num_ranks: int, accelerator: str, jobs: Sequence[Job]) -> None:
        self._folder = folder / f"group-{time.time_ns()}"
        self._folder.mkdir(parents=True)
        write_jobs(self._folder, jobs)
        self._port, self._scratch = free_port(), self._folder / "scratch"
        claim_scratch(self._scratch, self._port)
        assignments = [self._assignment(rank, num_ranks, accelerator) for rank in range(num_ranks)]
        start_server(assignments[0].environment())
        self._children = [Child(assignment, train_jobs) for assignment in assignments]

    def _assignment(self, rank: int, num_ranks: int, accelerator: str) -> Assignment:
        return Assignment(
            point="",  # each job has its own, and what follows from it
            planned="",
            run_folder=self._folder,
            rank=Rank(
                rank=rank,
                num_ranks=num_ranks,
                local_rank=rank,
                local_num_ranks=num_ranks,
                master_address="127.0.0.1",
                master_port=self._port,
            ),
            port=self._port,
            scratch=self._scratch,
            accelerator=accelerator,
            num_threads=1,
            attempt=1,
            lease_token=0,
            micro_batch=0,
        )

    def wait(self) -> None:
        """Wait for the end of all ranks; GroupFailed if one fails, or after GROUP_SECONDS."""
        deadline = time.monotonic() + GROUP_SECONDS
        while (outcomes := [child.poll() for child in self._children]).count(None):
            failed = [outcome for outcome in outcomes if outcome is not None and not outcome.is_good]
            if failed or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        ended: list[Outcome] = [child.stop() for child in self._children]
        outcome = joint_outcome(ended)
        if not outcome.is_good:
            raise GroupFailed(f"{outcome.state}: {outcome.reason} (see {self._folder}/log-rank*.txt)")

    def end(self) -> None:
        """End what still runs, and remove what it leaves on this machine."""
        for child in self._children:
            child.stop()
        for scratch in (*self._scratch.glob("*/"), self._scratch):
            remove_point(scratch, self._port)


def _cut_back(source: Path, target: Path) -> None:
    """Copy a run as it was when it was killed after KILLED_AFTER steps, with its checkpoint of CUT_STEP."""
    ignore: Any = shutil.ignore_patterns(folder_name(NUM_STEPS), "tensorboard", "told.json")
    shutil.copytree(source, target, ignore=ignore)
    run = RunDirectory(target)
    (run.checkpoints / "latest").write_text(folder_name(CUT_STEP))
    cut_lines_from(run.metrics, "step", KILLED_AFTER + 1)
    cut_lines_from(run.samples, "step", KILLED_AFTER)
