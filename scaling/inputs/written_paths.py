"""Paths as a sweep file writes them: with environment variables, ~, and relative to the current directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

from scaling.sweep.sweep_file import SweepError

_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def resolve_path(text: str, where: str) -> Path:
    """The path that stands at `where` in a sweep file; SweepError for one that cannot be resolved."""
    try:
        return Path(with_variables(text, where)).expanduser().absolute()
    except RuntimeError as error:
        raise SweepError(f"{where}: {text!r} cannot be resolved ({error}): write it in full.") from error


def with_variables(text: str, where: str) -> str:
    """The text with ${NAME} replaced; SweepError for a variable that is not set, and for no path at all."""

    def value_of(match: re.Match[str]) -> str:
        value = os.environ.get(match[1], "")
        if not value:
            raise SweepError(
                f"{where}: {text!r} needs the environment variable {match[1]}, which is not set: "
                f"export {match[1]}=DIR, or give the path with --set {where}=DIR."
            )
        return value

    if not text.strip() or "$" in _VARIABLE.sub("", text):
        raise SweepError(
            f"{where}: {text!r} is not a path: write a folder; environment variables as ${{NAME}}."
        )
    return _VARIABLE.sub(value_of, text)
