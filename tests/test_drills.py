"""Every fault, played through the real launcher, and every engine beside plain torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scaling.drill.drills import SHARED

pytestmark = pytest.mark.slow


@pytest.mark.timeout(2400)
def test_all_drills_end_as_they_should_from_any_folder(tmp_path: Path) -> None:
    scaling = str(Path(sys.executable).with_name("scaling"))
    done = subprocess.run(
        [scaling, "drill", "all"], cwd=tmp_path, capture_output=True, text=True, timeout=2300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "54 of 54 passed" in done.stdout and "12 of 12 passed" in done.stdout, done.stdout
    assert all(name in done.stdout for name in (*SHARED, "corrupt-shard", "two-launchers"))
