"""The launches that scenes share: one undisturbed, one that plays all faults, and more until every run is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from scaling.drill.expectations import Played
from scaling.drill.finding import Finding, Witness
from scaling.drill.launched import NAME, Ended, Launch, find_run, is_held
from scaling.drill.scenes import Scene
from scaling.drill.site import Site
from scaling.processes.drilled_faults import HANG
from scaling.records import RunDirectory, Status

MOST_ROUNDS = 5  # two scenes interrupt their launch, which leaves the points behind them to the next launch


@dataclasses.dataclass(slots=True)
class _Part:
    """A scene's run while it is played."""

    scene: Scene
    seed: int
    runs: Path  # where its run is
    is_interrupted: bool = False
    disturbed: Ended | None = None  # the first launch that began it
    status: Status = dataclasses.field(default_factory=lambda: Status(state="queued"))
    checkpoints: list[str] = dataclasses.field(default_factory=list)
    attempts_after: int = 0

    @property
    def run(self) -> RunDirectory | None:
        return find_run(self.runs, self.seed)

    @property
    def is_held(self) -> bool:
        return is_held(self.runs, self.seed)


class Rounds:
    """Scenes played together."""

    def __init__(self, site: Site, scenes: Sequence[Scene]) -> None:
        self._site = site
        self._runs, self._alone = site.folder / "disturbed", site.folder / "alone"
        order = _order(site, len(scenes) + 1)
        rolling_back = [scene for scene in scenes if scene.non_finite == "rollback"]
        others = [scene for scene in scenes if scene.non_finite != "rollback"]
        self._parts = [_Part(scene, seed, self._runs) for scene, seed in zip([*rolling_back, *others], order)]
        has_bystander = self._parts[-1].scene.fault == HANG  # a point that runs after it
        self._bystanders = order[-1:] if has_bystander else []
        self._ended: list[Ended] = []

    def play(self) -> list[Finding]:
        """Train every run undisturbed, then disturbed and on to its end; returns the finding of each."""
        if (ended := self._site.train_undisturbed([part.seed for part in self._parts])) is not None:
            self._ended.append(ended)
        drill = ",".join(f"{part.scene.fault}@{part.seed}" for part in self._parts)
        for number in range(MOST_ROUNDS):
            if (ended := self._play_round(drill, number)).status == 0:
                break
        self._play_alone()
        return [self._finding(part) for part in self._parts]

    def _play_round(self, drill: str, number: int) -> Ended:
        launch = self._site.launch(self._sweep(), self._runs, drill=drill, retry=number > 0)
        self._interrupt(launch)
        ended = launch.end()
        self._ended.append(ended)
        for part in self._parts:
            if part.disturbed is None and part.run is not None and part.run.read_status().attempts:
                self._note(part, part.run, ended)
        return ended

    def _sweep(self) -> Path:
        """The sweep of all runs that still take part."""
        parts = [part for part in self._parts if part.runs == self._runs]
        back = [part.seed for part in parts if part.scene.non_finite == "rollback"]
        stop = [*(part.seed for part in parts if part.seed not in back), *self._bystanders]
        rules = [{"non_finite": "rollback", "seed": stop}, {"non_finite": "stop", "seed": back}]
        policies = [*(["rollback"] if back else []), *(["stop"] if stop else [])]
        skip = [rule for rule in rules if rule["seed"]]
        return self._site.sweep("disturbed", seeds=[*back, *stop], non_finite=policies, skip=skip)

    def _interrupt(self, launch: Launch) -> None:
        """Wait until a run is held whose scene interrupts the launch, and interrupt it."""
        waiting = [part for part in self._parts if part.scene.interrupt and not part.is_interrupted]
        if not waiting or not launch.wait_until(lambda: any(part.is_held for part in waiting)):
            return
        part = next(part for part in waiting if part.is_held)
        assert part.scene.interrupt is not None
        part.scene.interrupt(launch)
        part.is_interrupted = True

    def _note(self, part: _Part, run: RunDirectory, ended: Ended) -> None:
        """Note how a run stands after the launch that began it, and do to its files what the scene says."""
        part.disturbed, part.status = ended, run.read_status()
        part.checkpoints = sorted(path.name for path in run.checkpoints.glob("*"))
        part.attempts_after = _attempts_after(ended.output, run.path.name)
        if part.scene.damage is not None:
            part.scene.damage(run)
        if part.scene.goes_on_alone:
            part.runs = self._alone
            (self._alone / NAME).mkdir(parents=True)
            run.path.rename(self._alone / NAME / run.path.name)

    def _play_alone(self) -> None:
        seeds = [part.seed for part in self._parts if part.runs == self._alone]
        if seeds:
            sweep = self._site.sweep("alone", seeds=seeds, zero_stage=3)
            self._ended.append(self._site.launch(sweep, self._alone, num_ranks=1).end())

    def _finding(self, part: _Part) -> Finding:
        witness, scene, run = Witness(), part.scene, part.run
        reference = find_run(self._site.undisturbed, part.seed)
        if run is None or reference is None or part.disturbed is None or reference.read_record() is None:
            said = "\n".join(ended.output[-300:] for ended in self._ended[:2])
            witness.expect(False, "ran, undisturbed and disturbed", said)
            return witness.finding(scene.drill, scene.done, scene.expected)
        played = Played(
            run=run,
            reference=reference,
            disturbed=part.disturbed,
            status=part.status,
            checkpoints=part.checkpoints,
            attempts_after=part.attempts_after,
        )
        scene.check(played, witness)
        left = [left for ended in self._ended for left in ended.left_behind]
        witness.expect(not left, "nothing left behind", ", ".join(left))
        return witness.finding(scene.drill, scene.done, scene.expected)


def _order(site: Site, number: int) -> list[int]:
    """The seeds of as many runs, in the order in which a launch trains them; scenes that end a launch get the last."""
    points = site.points(site.sweep("order", seeds=list(range(number))))
    return [point.science.seed for point in points]


def _attempts_after(output: str, run_id: str) -> int:
    """How many other runs a launch began after it had ended one."""
    lines = [line for line in output.splitlines() if line.startswith("[")]
    own = [index for index, line in enumerate(lines) if run_id in line]
    later = lines[own[-1] + 1 :] if own else []
    return sum(": started" in line for line in later)
