"""Fixtures of the tests of a study."""

from __future__ import annotations

import pandas as pd
import pytest
from simulated_sweep import SweepFolder, add_surface

from analysis.load import load_sweep


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The runs of a finished sweep with a noise of half a percent."""
    folder = SweepFolder(tmp_path_factory.mktemp("runs") / "simulated")
    add_surface(folder, noise=0.005)
    return load_sweep(folder.path)
