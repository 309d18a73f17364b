"""The drill two-launchers: two launches of one sweep at once, one of which is suspended while it holds a run."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import xxhash

from scaling.drill.comparison import (
    RELATIVE,
    difference_of_counts,
    difference_of_losses,
    difference_of_samples,
)
from scaling.drill.finding import Finding, Witness
from scaling.drill.launched import POLL_SECONDS, Ended, Launch, find_run, is_held
from scaling.drill.processes import send
from scaling.drill.site import Site
from scaling.processes.drilled_faults import GO, HOLD
from scaling.processes.lease import EXPIRES_SECONDS
from scaling.records import RunDirectory

DRILL = "two-launchers"
DONE = "two launches of two points at once; SIGSTOP to the one that holds the second point, its lease made old, SIGCONT"
EXPECTED = "each point trained once; the second one taken over; its old holder, awake again, writes nothing"

ALONE_SECONDS = 60.0  # for a child to notice, at its next write, that its run is another's
LOGS = "log-rank*.txt"  # written also by a process that lost its run, so not compared


class TwoLaunchers:
    """The two launches; `play` takes as long as they run."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._runs = site.folder / "contended"
        self._witness = Witness()

    def play(self) -> list[Finding]:
        """Play the drill and return its finding."""
        sweep = self._site.sweep("contended", seeds=[0, 1])
        first, second = (point.science.seed for point in self._site.points(sweep, num_ranks=1))
        drill = f"{HOLD}@0,{HOLD}@1"
        launches = [self._site.launch(sweep, self._runs, num_ranks=1, drill=drill) for _ in range(2)]
        held = launches[0].wait_until(lambda: all(is_held(self._runs, seed) for seed in (first, second)))
        self._witness.expect(held, "each launch took a point of its own")
        if held:
            self._let_one_sleep(launches, first, second)
        for launch in launches:
            launch.kill()
        return [self._witness.finding(DRILL, DONE, EXPECTED)]

    def _let_one_sleep(self, launches: list[Launch], first: int, second: int) -> None:
        own, contended = find_run(self._runs, first), find_run(self._runs, second)
        assert own is not None and contended is not None
        sleeper = next(launch for launch in launches if _holds(launch, contended))
        other = next(launch for launch in launches if launch is not sleeper)
        send(sleeper.processes(), signal.SIGSTOP)
        _make_old(contended)
        for run in (own, contended):
            (run.path / GO).touch()
        took_over = other.wait()
        self._look_at_takeover(took_over, own, contended)
        before = _contents(contended)
        self._wake(sleeper, contended)
        woken = sleeper.wait()
        self._look_at_sleeper(woken, before, _contents(contended))
        self._compare(first, second)
        left = [*other.left_behind(), *sleeper.left_behind()]
        self._witness.expect(not left, "nothing left behind", ", ".join(left))

    def _wake(self, sleeper: Launch, run: RunDirectory) -> None:
        """Wake the child first, which is about to write, and then its parent, which would kill it."""
        child = [process for process in sleeper.processes() if process.pid == _first_child_of(run)]
        send(child, signal.SIGCONT)
        deadline = time.monotonic() + ALONE_SECONDS
        while child[0] in sleeper.processes() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self._witness.expect(child[0] not in sleeper.processes(), "the sleeper's child ended by itself")
        send(sleeper.processes(), signal.SIGCONT)

    def _look_at_takeover(self, ended: Ended, own: RunDirectory, contended: RunDirectory) -> None:
        expect = self._witness.expect
        expect(ended.status == 0, "the other launch ended with all points done", ended.output[-300:])
        attempts = [run.read_status().attempts for run in (own, contended)]
        expect(attempts == [1, 2], "the first point in one attempt, the second in two", attempts)

    def _look_at_sleeper(self, ended: Ended, before: dict[str, str], after: dict[str, str]) -> None:
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        self._witness.expect(not changed, "the sleeper wrote nothing", ", ".join(changed))
        self._witness.expect("took over from this one" in ended.output, "and says why", ended.output[-300:])
        self._witness.expect(ended.status != 0, "and does not claim success", ended.status)

    def _compare(self, *seeds: int) -> None:
        """Both runs are what one launch makes of them."""
        self._site.train_undisturbed(seeds)
        for seed in seeds:
            run, reference = find_run(self._runs, seed), find_run(self._site.undisturbed, seed)
            assert run is not None
            if reference is None:
                self._witness.expect(False, "undisturbed, it ran")
                continue
            self._witness.no_difference(
                difference_of_losses(run, reference, relative=RELATIVE)
                or difference_of_samples(run, reference)
                or difference_of_counts(run, reference),
                f"seed {seed}: losses, samples and label counts of an undisturbed run",
            )


def _first_child_of(run: RunDirectory) -> int:
    """The process of the first attempt at a run."""
    found = re.search(r"process (\d+)", (run.path / "log-rank0.txt").read_text())
    assert found is not None
    return int(found[1])


def _holds(launch: Launch, run: RunDirectory) -> bool:
    """Whether the latest lease of a run is a process's of this launch."""
    holder = json.loads(_lease(run).read_text())
    return holder["pid"] in {process.pid for process in launch.processes()}


def _lease(run: RunDirectory) -> Path:
    return max((run.path / "leases").glob("[0-9]*.json"))


def _make_old(run: RunDirectory) -> None:
    """Date the lease back, as if its holder had slept until it ran out."""
    path = _lease(run)
    holder = json.loads(path.read_text())
    path.write_text(json.dumps({**holder, "renewed_at": time.time() - 2 * EXPIRES_SECONDS}))


def _contents(run: RunDirectory) -> dict[str, str]:
    """A hash of every file of a run but for its logs."""
    paths = (Path(folder) / name for folder, _, names in os.walk(run.path) for name in names)
    return {
        str(path.relative_to(run.path)): xxhash.xxh64_hexdigest(path.read_bytes())
        for path in paths
        if not path.match(LOGS)
    }
