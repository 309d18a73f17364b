"""A finished sweep and its page, made once."""

from __future__ import annotations

import pytest
from page_reader import read_page
from simulated_report import FEW_REFITS, QUESTION, WRITTEN, Finished, add_runs
from simulated_sweep import SweepFolder, science

from analysis.report.findings import find
from analysis.report.page import compose


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = SweepFolder(tmp_path_factory.mktemp("runs") / "simulated")
    folder.path.mkdir()
    add_runs(folder)
    folder.plan(QUESTION)
    findings = find(folder.path, options=FEW_REFITS)
    path = tmp_path_factory.mktemp("out") / "report.html"
    path.write_text(compose([findings], WRITTEN.isoformat())[0], encoding="utf-8")
    return Finished(folder, findings, path, read_page(path))


@pytest.fixture
def small(sweep_folder: SweepFolder) -> SweepFolder:
    """Four finished runs, too few for a law and quick to report."""
    for objective in ("superclass", "clip"):
        for tower in ("vit_nano8", "vit_micro8"):
            sweep_folder.add(science(objective, tower, 8_192), "done", error=0.5)
    sweep_folder.plan()
    return sweep_folder
