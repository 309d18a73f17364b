"""What a page is made of: sections with paragraphs, tables, figures and commands, all plain text until rendered."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

from analysis.figures.drawing import Drawing

Key = float | str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table; neighbouring columns of one group stand under its name."""

    name: str
    group: str = ""
    is_text: bool = False  # words are aligned left, numbers right


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A text and what it is sorted by: a number where the text stands for one."""

    text: str
    key: Key | None = None  # None: the text itself; NaN (not recorded) stands last

    @property
    def sort_key(self) -> str:
        """The key as an attribute of HTML: "" for a number that is absent."""
        if isinstance(self.key, float) and math.isnan(self.key):
            return ""
        return self.text if self.key is None else str(self.key)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A caption, columns and rows; the first cell of a row names it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def groups(self) -> list[tuple[str, int]]:
        """(group, number of columns) from left to right."""
        return [
            (name, len(list(part))) for name, part in itertools.groupby(one.group for one in self.columns)
        ]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """A text; `is_note` sets it smaller."""

    kind: ClassVar[str] = "paragraph"
    text: str
    is_note: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """Sentences below each other, with an optional lead."""

    kind: ClassVar[str] = "points"
    items: tuple[str, ...]
    lead: str = ""
    is_warning: bool = False  # boxed: what a reader must not miss


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A statement that stands out, beside a bar in a colour."""

    kind: ClassVar[str] = "finding"
    lead: str
    text: str
    colour: str  # "#rrggbb", of contrast 4.5 or more on the page
    is_answer: bool = False  # set larger: the sentence that the study was made for


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One drawing at the width of a page and at that of a phone."""

    kind: ClassVar[str] = "figure"
    wide: Drawing
    narrow: Drawing


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Commands:
    """Lines for a shell."""

    kind: ClassVar[str] = "commands"
    lines: tuple[str, ...]
    label: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """Blocks behind a summary, open in print."""

    kind: ClassVar[str] = "folded"
    summary: str
    blocks: tuple[Block, ...]


Block = Table | Paragraph | Points | Finding | Figure | Commands | Folded


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading with blocks and sections below it."""

    identifier: str  # unique on the page, of letters, digits and hyphens
    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()

    @property
    def figures(self) -> list[Figure]:
        """Every figure of the section and of those below it, in order."""
        mine = [one for one in flattened(self.blocks) if isinstance(one, Figure)]
        return [*mine, *(figure for section in self.sections for figure in section.figures)]


def flattened(blocks: Sequence[Block]) -> list[Block]:
    """The blocks with those behind summaries in their places."""
    return [
        one for block in blocks for one in (flattened(block.blocks) if isinstance(block, Folded) else [block])
    ]


def words(text: str) -> Cell:
    """A cell of text."""
    return Cell(text=text)


def figure_cell(text: str, value: float | None) -> Cell:
    """A cell of a number, sorted by it; without a value it stands last."""
    return Cell(text=text, key=math.nan if value is None else float(value))


def column(name: str, group: str = "") -> Column:
    """A column of numbers."""
    return Column(name=name, group=group)


def text_column(name: str, group: str = "") -> Column:
    """A column of text."""
    return Column(name=name, group=group, is_text=True)
