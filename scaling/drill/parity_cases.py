"""The cases of the parity certificate: every engine from the start, from its own checkpoint and from another's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

OBJECTIVES = ("superclass", "clip")

CUT_STEP = 10  # of the checkpoint that is continued from
KILLED_AFTER = 13  # steps: the last three are trained again

Mode = Literal["fresh", "resumed", "taken over"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """An engine, a ZeRO stage and a number of ranks."""

    engine: str
    zero_stage: int
    num_ranks: int

    @property
    def name(self) -> str:
        ranks = "1 rank" if self.num_ranks == 1 else f"{self.num_ranks} ranks"
        stage = f" ZeRO {self.zero_stage}" if self.engine == "deepspeed" else ""
        return f"{self.engine}{stage}, {ranks}"

    @property
    def key(self) -> str:
        """For names of folders."""
        return f"{self.engine}{self.zero_stage}-{self.num_ranks}"


REFERENCE = Layout(engine="plain", zero_stage=0, num_ranks=1)

LAYOUTS = (
    REFERENCE,
    *(Layout(engine="deepspeed", zero_stage=stage, num_ranks=1) for stage in (1, 2, 3)),
    Layout(engine="fsdp", zero_stage=3, num_ranks=1),
    *(Layout(engine="deepspeed", zero_stage=stage, num_ranks=2) for stage in (1, 2, 3)),
    Layout(engine="fsdp", zero_stage=3, num_ranks=2),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One run of the certificate."""

    objective: str
    layout: Layout
    mode: Mode
    writer: Layout  # who wrote the checkpoint that it continues; its own layout for a fresh run

    @property
    def key(self) -> str:
        """The name of its run's folder."""
        return f"{self.objective}-{self.layout.key}-{self.mode.replace(' ', '-')}"


def cases_of(layouts: Sequence[Layout]) -> list[Case]:
    """Each layout with each objective: fresh, resumed after a kill, and taken over from another layout."""
    return [
        Case(objective=objective, layout=layout, mode=mode, writer=writer)
        for objective in OBJECTIVES
        for layout in layouts
        for mode, writer in _writers(layout, layouts)
    ]


def _writers(layout: Layout, layouts: Sequence[Layout]) -> list[tuple[Mode, Layout]]:
    """Whose checkpoints a layout continues: its own, and those of one with other ranks if there is any."""
    place = layouts.index(layout)
    others = [*layouts[place + 1 :], *layouts[:place]]
    elsewhere = [other for other in others if other.num_ranks != layout.num_ranks] or others
    return [("fresh", layout), ("resumed", layout), ("taken over", elsewhere[place % len(elsewhere)])]


class Job(BaseModel):
    """A case as it is handed to the processes that train it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    point: str  # RunPoint as JSON, of an engine that a sweep may ask for
    planned: str  # records.PlannedCost as JSON
    engine: str
    zero_stage: int
    folder: Path


class Told(BaseModel):
    """What rank 0 reports of a run besides the run's own files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state_at_start: dict[str, int]  # hash by kind, before the first step of this process
    optimizer_steps: int  # at the end


JOBS, TOLD = "jobs.json", "told.json"  # of a group's folder, of a run's


def write_jobs(folder: Path, jobs: Sequence[Job]) -> None:
    """Leave the jobs for the processes of a group."""
    (folder / JOBS).write_text(json.dumps([job.model_dump(mode="json") for job in jobs]))


def read_jobs(folder: Path) -> list[Job]:
    """The jobs of a group."""
    return [Job.model_validate(job) for job in json.loads((folder / JOBS).read_text())]
