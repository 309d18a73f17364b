from __future__ import annotations

import pytest
from trunk_points import points_of

from scaling.points import RunPoint


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> RunPoint:
    return points_of(tmp_path_factory.mktemp("one"), "samples_seen=1000")[0]
