"""Runs that branch from a shorter one of their trunk, against the same runs trained alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaling.checkpoints.names import steps_in
from scaling.drill.comparison import (
    difference_of_counts,
    difference_of_losses,
    difference_of_samples,
    difference_of_weights,
)
from scaling.drill.site import GLOBAL_BATCH, Site
from scaling.records import RunDirectory, RunRecord, run_directories

# steps and samples_seen; they decay from 6, 12, 18
LENGTHS = {steps: steps * GLOBAL_BATCH for steps in (8, 16, 24)}
WSD = {"schedule": "wsd", "decay_share": 0.25, "patch_dropout": 0.25, "checkpoint_every_samples": 0}


@pytest.fixture
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder:  # short: names of sockets are limited
        site = Site(Path(folder))
        yield site
        site.end_all()


def _by_samples(runs: Path) -> dict[int, tuple[RunDirectory, RunRecord]]:
    """The finished runs of a launch, by samples_seen."""
    records = [(run, run.read_record()) for run in run_directories(runs / "drill")]
    return {record.measured.samples_seen: (run, record) for run, record in records if record is not None}


@pytest.mark.slow
def test_a_run_that_branches_ends_as_if_trained_alone_to_the_bit(site: Site) -> None:
    trunk = site.sweep("trunk", samples_seen=list(LENGTHS.values()), **WSD)
    together = site.launch(trunk, site.folder / "together").end()
    assert together.status == 0, together.output
    runs = _by_samples(site.folder / "together")
    (first, shortest), (second, middle), (run, longest) = (runs[samples] for samples in LENGTHS.values())
    assert [shortest.branched_from, middle.branched_from, longest.branched_from] == [
        None,
        first.path.name,
        second.path.name,
    ]
    assert [middle.branched_at_samples, longest.branched_at_samples] == [6 * GLOBAL_BATCH, 12 * GLOBAL_BATCH]
    assert len({shortest.trunk, middle.trunk, longest.trunk}) == 1
    assert 0 < longest.measured.inherited_device_hours < longest.measured.device_hours
    assert longest.measured.attempts == 1 and longest.warnings == []
    assert steps_in(first.checkpoints) == [6, 8], "the step from which others branch stays"

    alone = site.launch(site.sweep("alone", samples_seen=LENGTHS[24], **WSD), site.folder / "alone").end()
    assert alone.status == 0, alone.output
    ((reference, _),) = _by_samples(site.folder / "alone").values()
    assert reference.path.name == run.path.name, "the same run, wherever it began"
    assert difference_of_losses(run, reference) == ""
    assert difference_of_samples(run, reference) == ""
    assert difference_of_counts(run, reference) == ""
    assert difference_of_weights(run, reference) == ""
