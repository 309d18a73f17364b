"""All drills by name: `scaling drill NAME` plays one, `scaling drill all` every one."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from scaling.drill import damaged_shard, two_launchers
from scaling.drill.finding import Finding, table_of
from scaling.drill.parity import certify
from scaling.drill.rounds import Rounds
from scaling.drill.scenes import SCENES
from scaling.drill.site import Site

ALL, PARITY = "all", "parity"

SHARED = tuple(dict.fromkeys(scene.drill for scene in SCENES))
"""Drills whose runs share launches."""

OTHERS: dict[str, Callable[[Site], list[Finding]]] = {
    damaged_shard.DRILL: damaged_shard.play,
    two_launchers.DRILL: lambda site: two_launchers.TwoLaunchers(site).play(),
}
"""Drills with launches of their own."""

NAMES = (*SHARED, *OTHERS, PARITY, ALL)


def run_drills(name: str, *, keep: bool, console: Console) -> bool:
    """Play a drill, or all of them, and print the findings; returns whether everything was as expected.

    The folder of its runs is deleted unless `keep`.  Raises ValueError for an unknown drill.
    """
    if name not in NAMES:
        raise ValueError(f"there is no drill called {name!r}: choose one of {', '.join(NAMES)}.")
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    site = Site(folder)
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        is_passed = all([_play(part, site, console) for part in _parts(name)])
    finally:
        site.end_all()
        signal.signal(signal.SIGTERM, before)
        if keep:
            console.print(f"runs: {folder}", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return is_passed


def _leave(number: int, frame: object) -> NoReturn:
    """End as Ctrl-C does: running launches are ended and the folder is deleted."""
    raise SystemExit(128 + number)


def _parts(name: str) -> Iterable[str]:
    """The drills to play one after the other, each with a table of its own."""
    return ("faults", PARITY) if name == ALL else (name,)


def _play(name: str, site: Site, console: Console) -> bool:
    began = time.monotonic()
    if name == PARITY:
        table, is_passed = certify(site)
    else:
        findings = _findings(name, site)
        table, is_passed = table_of(findings, "drills"), all(finding.is_passed for finding in findings)
    console.print(table)
    console.print(f"{name}: {time.monotonic() - began:.0f} s")
    return is_passed


def _findings(name: str, site: Site) -> list[Finding]:
    scenes = [scene for scene in SCENES if name in (scene.drill, "faults")]
    findings = Rounds(site, scenes).play() if scenes else []
    for drill, play in OTHERS.items():
        findings += play(site) if name in (drill, "faults") else []
    return findings
