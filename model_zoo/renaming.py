"""One transformer's parameter names as another library writes them."""

from __future__ import annotations

from collections.abc import Mapping


def rename(name: str, stems: Mapping[str, str], blocks: str) -> str:
    """`name` with its stem replaced, and `blocks.3.` by `{blocks}.3.`; KeyError for a stem that is not known."""
    prefix = ""
    if name.startswith("blocks."):
        _, index, name = name.split(".", 2)
        prefix = f"{blocks}.{index}."
    for ours, theirs in stems.items():
        if name == ours or name.startswith(f"{ours}."):
            return prefix + theirs + name.removeprefix(ours)
    raise KeyError(name)
