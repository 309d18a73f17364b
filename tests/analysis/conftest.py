"""Fixtures of the analysis tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_sweep import SweepFolder


@pytest.fixture
def sweep_folder(tmp_path: Path) -> SweepFolder:
    """An empty runs/simulated."""
    path = tmp_path / "runs" / "simulated"
    path.mkdir(parents=True)
    return SweepFolder(path)
