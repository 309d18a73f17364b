"""A figure with the numbers it shows and what it shows in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import Width


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure, the numbers it shows, and what it shows in words."""

    name: str  # of its files
    title: str
    caption: str
    figure: Figure
    data: pd.DataFrame
    alt: str = ""  # the message in words, for readers who do not see the figure
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # JSON: what the numbers rest on


def file_name(name: str, width: Width) -> str:
    """The name of a figure's files: the bare name at full width, with the width appended otherwise."""
    return name if width == "full" else f"{name}_{width}"
