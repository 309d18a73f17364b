"""A page of the report as a test reads it: well-formed elements with their attributes and text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br", "hr", "img", "link", "input", "col"}


@dataclass
class Element:
    """One element with everything inside it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        """The element and all elements inside it, in order."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, *tags: str) -> list[Element]:
        """Every element of these kinds inside."""
        return [one for one in self.walk() if one.tag in tags and one is not self]

    @property
    def text(self) -> str:
        """All text inside, its spaces normalised."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child._texts()
                yield " "


class _Builder(HTMLParser):
    """Fails on a tag that closes another one's element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Element("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop().tag == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def read_page(path: Path) -> Element:
    """The whole page."""
    builder = _Builder()
    builder.feed(path.read_text(encoding="utf-8"))
    builder.close()
    (document,) = builder.stack
    return document


def section(page: Element, identifier: str) -> Element:
    """The section with an identifier."""
    return next(one for one in page.all("section") if one.attributes["id"] == identifier)


def rows(page: Element, caption: str) -> list[dict[str, str]]:
    """The rows of the table with a caption, by heading (under their group, where there is one)."""
    table = next(one for one in page.all("table") if one.all("caption")[0].text == caption)
    head, body = table.all("thead")[0].all("tr"), table.all("tbody")[0].all("tr")
    names = [cell.text for cell in head[-1].all("th")]
    if len(head) > 1:
        groups = [
            cell.text for cell in head[0].all("th", "td") for _ in range(int(cell.attributes["colspan"]))
        ]
        names = [f"{group} {name}".strip() for group, name in zip(groups, names, strict=True)]
    return [dict(zip(names, [cell.text for cell in row.all("th", "td")])) for row in body]
