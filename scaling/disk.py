"""Files that survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync_to_disk(folder: Path) -> None:
    """Return when everything below `folder`, and the listing of every folder there, would survive a power cut."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
