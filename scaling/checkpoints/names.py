"""What checkpoints are called in a run's folder of checkpoints.  No torch: parents look for them, too."""

from __future__ import annotations

import re
from pathlib import Path


def folder_name(step: int) -> str:
    """ "step-000000500", which sorts by step."""
    return f"step-{step:09d}"


def steps_in(checkpoints: Path) -> list[int]:
    """The steps of the checkpoints in a run's folder of checkpoints, whole or damaged, ascending."""
    names = [path.name for path in checkpoints.glob("step-*") if path.is_dir()]
    return sorted(int(found[1]) for name in names if (found := re.fullmatch(r"step-(\d+)", name)))
