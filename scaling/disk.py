"""Files that survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync_to_disk(path: Path) -> None:
    """Return when a file, or all files below a folder and the folders' listings, would survive a power cut."""
    for entry in (*path.rglob("*"), path):
        descriptor = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
