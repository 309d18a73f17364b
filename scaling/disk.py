"""Files that survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync_to_disk(path: Path) -> None:
    """Return when a file, or all files below a folder and the folders' listings, would survive a power cut."""
    for entry in (*path.rglob("*"), path):
        sync_entry(entry)


def sync_entry(path: Path) -> None:
    """Return when a file's content, or a folder's listing, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
