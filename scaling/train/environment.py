"""What a reader needs to judge or repeat a run: code, libraries, machine."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

LIBRARIES = ("torch", "deepspeed", "timm", "mosaicml-streaming", "transformers", "numpy")


def environment() -> dict[str, str]:
    """Versions of the libraries and of this code, and the machine's names."""
    return {
        **{name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "commit": _commit(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "host": platform.node(),
    }


@functools.cache
def _commit() -> str:
    """The commit this code was checked out from, with a mark if it was changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown: no git on this machine"
    return found.stdout.strip() if found.returncode == 0 else "unknown: not a git checkout"
