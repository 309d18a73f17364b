from __future__ import annotations

from pathlib import Path

import pytest

from scaling.data.rendered import RenderSettings, render


@pytest.fixture(scope="session")
def small_rendering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered data set of a few hundred scenes."""
    folder = tmp_path_factory.mktemp("rendered")
    settings = RenderSettings(
        train=300, validation=64, held_out=8, word_order=8, labelled_train=128, labelled_test=64, image_size=32
    )
    render(folder, settings, workers=1, progress=False)
    return folder
