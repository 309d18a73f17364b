"""Where drills take place: a folder with a rendered data set, tiny sweeps over it, and launches of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from scaling.data.rendering.rendered import RenderSettings, render
from scaling.drill.launched import NAME, NUM_RANKS, Ended, Launch, find_run
from scaling.points import RunPoint, resolve_points
from scaling.processes.drilled_faults import CHECKPOINT_STEPS, NUM_STEPS
from scaling.spec import load_sweep

GLOBAL_BATCH = 16
MICRO_BATCH = GLOBAL_BATCH // NUM_RANKS


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


class Site:
    """A folder of drills."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._launches: list[Launch] = []

    @functools.cached_property
    def data(self) -> Path:
        """The data set, drawn when it is first asked for."""
        folder = self.folder / "data"
        render(folder, RENDERING, workers=1, progress=False)
        return folder

    def sweep(self, name: str, *, train: str = "", **fields: Any) -> Path:
        """Write a tiny sweep file: SWEEP with `fields` on top (lists become axes; also `seeds`, `skip`); its path."""
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
        """The points of a sweep, in the order in which a launch trains them."""
        return resolve_points(load_sweep(sweep), num_ranks=num_ranks)

    @property
    def undisturbed(self) -> Path:
        """The folder of the undisturbed runs."""
        return self.folder / "undisturbed"

    def train_undisturbed(self, seeds: Sequence[int]) -> Ended | None:
        """Train the undisturbed runs of these seeds that are missing; returns the launch, None if none was needed."""
        runs = {seed: find_run(self.undisturbed, seed) for seed in seeds}
        missing = [seed for seed, run in runs.items() if run is None or run.read_record() is None]
        if not missing:
            return None
        return self.launch(self.sweep("undisturbed", seeds=missing), self.undisturbed).end()

    def launch(
        self, sweep: Path, runs: Path, *, num_ranks: int = NUM_RANKS, drill: str = "", retry: bool = False
    ) -> Launch:
        """Start `scaling launch` of a sweep."""
        options = [*(["--drill", drill] if drill else []), *(["--retry-failed"] if retry else [])]
        folder = self.folder / f"launch-{len(self._launches) + 1}"
        self._launches.append(Launch(folder, sweep, runs, num_ranks, options))
        return self._launches[-1]

    def end_all(self) -> None:
        """Kill what still runs of all launches, and remove what that leaves on this machine."""
        for launch in self._launches:
            launch.kill()
