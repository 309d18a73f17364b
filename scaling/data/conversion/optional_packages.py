"""Packages that only some sources need."""

from __future__ import annotations

import importlib
from typing import Any


def optional_module(name: str, *, purpose: str) -> Any:
    """The module, untyped; ValueError naming the package to install where it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ValueError(f"{purpose} need the package {package}: pip install {package} ({error}).") from error
