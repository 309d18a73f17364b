"""Translates the names of parameters: into another library's, and into those below a prefix."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def rename(name: str, stems: Mapping[str, str], blocks: str) -> str:
    """`name` with its stem replaced as `stems` says and `blocks.3.` by `{blocks}.3.`; KeyError for an unknown stem."""
    prefix = ""
    if name.startswith("blocks."):
        _, index, name = name.split(".", 2)
        prefix = f"{blocks}.{index}."
    for ours, theirs in stems.items():
        if name == ours or name.startswith(f"{ours}."):
            return prefix + theirs + name.removeprefix(ours)
    raise KeyError(name)


def below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names start with `prefix`, which their names lose."""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
