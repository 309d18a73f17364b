"""Drawings and tables as a notebook displays them."""

from __future__ import annotations

from typing import Any

import IPython.display
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from analysis.figures.drawing import Drawing
from analysis.report.blocks import Column, Folded, Paragraph, Points
from analysis.show import html_table, lying, plain_table, png_picture, say, show, table_of


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, str], Any]]:
    """What is displayed, in order: data by type, and its metadata."""
    seen: list[tuple[dict[str, str], Any]] = []
    monkeypatch.setattr(IPython.display, "display", lambda data, metadata, raw: seen.append((data, metadata)))
    return seen


def drawing() -> Drawing:
    canvas = Canvas(figsize=(3, 2))
    canvas.add_subplot().plot([1, 2], [3, 4])
    return Drawing(
        name="line",
        title="A line",
        caption="",
        figure=canvas,
        data=pd.DataFrame(),
        alt="It rises from 3 to 4.",
    )


def test_a_picture_carries_its_message_and_is_followed_by_it(displayed: list[Any]) -> None:
    show(drawing())
    (picture, metadata), (text, _) = displayed
    assert metadata["image/png"]["alt"] == text["text/plain"] == "It rises from 3 to 4."
    assert set(picture) == {"image/png", "text/plain"} and set(text) == {"text/plain"}


def test_the_same_drawing_gives_the_same_bytes_of_a_small_picture() -> None:
    assert png_picture(drawing()) == png_picture(drawing())
    assert len(png_picture(drawing())) < 20_000


def test_the_blocks_of_a_report_are_displayed_in_order(displayed: list[Any]) -> None:
    inside = table_of("Counts", ("kind", "number"), [("<b>", "3")])
    show(
        Paragraph(text="First."), Points(lead="Then.", items=("one",)), Folded(summary="s", blocks=(inside,))
    )
    assert [data["text/plain"].splitlines() for data, _ in displayed] == [
        ["First."],
        ["Then.", "- one"],
        ["kind  number", "<b>   3"],
    ]
    assert "&lt;b&gt;" in displayed[2][0]["text/html"]


def test_nothing_said_displays_nothing(displayed: list[Any]) -> None:
    say()
    assert not displayed


def test_words_stand_left_and_numbers_right() -> None:
    table = table_of("Counts", ("kind", "number", "note"), [("a", "3", "n")], texts=("note",))
    assert html_table(table).count("text-align: right") == 2  # of heading and cell


def test_a_wide_table_lies_on_its_side_under_the_names_of_its_rows() -> None:
    table = table_of("Laws", ("metric", "objective", "runs", "clusters"), [("m", "clip", "22", "16")])
    turned = lying(table)
    assert [column.name for column in turned.columns] == ["", "m, clip"]
    assert [[cell.text for cell in row] for row in turned.rows] == [["runs", "22"], ["clusters", "16"]]


def test_headings_name_their_group() -> None:
    table = table_of("Laws", ("law",), [])
    grouped = type(table)(caption="", columns=(Column(name="lower", group="profile"),), rows=())
    assert plain_table(grouped) == "profile: lower"
