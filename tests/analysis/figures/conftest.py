"""Fixtures of the figure tests: every figure of one study, at both widths, drawn once."""

from __future__ import annotations

import pytest
from figure_gallery import Gallery, gallery


@pytest.fixture(scope="session")
def drawn() -> Gallery:
    """Every figure of a study with two objectives, failed and unfinished runs."""
    return gallery()
