"""Anyone can read the page: without network, without script, without sight of the figures, by keyboard."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from page_reader import Element
from simulated_report import Finished

from analysis.figures.lettering import contrast_on_white
from analysis.report.render import TEMPLATES

STYLE = (TEMPLATES / "style.css").read_text()


def test_nothing_outside_the_page_is_referred_to(finished: Finished) -> None:
    text = finished.path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|\"//\w|@import|url\((?!#)", text)
    for element in finished.page.walk():
        for name in ("href", "src", "action"):
            assert element.attributes.get(name, "#").startswith(("#", "data:text/csv"))
    (policy,) = (one for one in finished.page.all("meta") if "http-equiv" in one.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_the_policy_allows_the_script_of_the_tables_and_no_other(finished: Finished) -> None:
    (script,) = finished.page.all("script")
    body = "".join(child for child in script.children if isinstance(child, str))
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in finished.path.read_text(encoding="utf-8").replace("&#39;", "'")


def test_headings_are_in_order_and_one_names_the_page(finished: Finished) -> None:
    levels = [int(one.tag[1]) for one in finished.page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))


def test_every_section_is_named_by_its_heading_and_reached_from_the_contents(finished: Finished) -> None:
    identifiers = [one.attributes["id"] for one in finished.page.walk() if "id" in one.attributes]
    assert len(identifiers) == len(set(identifiers))
    for section in finished.page.all("section"):
        assert section.attributes["aria-labelledby"] in identifiers
    targets = [one.attributes["href"][1:] for one in finished.page.all("nav")[0].all("a")]
    assert targets and set(targets) <= set(identifiers)


def test_every_figure_has_a_text_alternative_and_its_data(finished: Finished) -> None:
    figures = finished.page.all("figure")
    assert len(figures) >= 8
    for figure in figures:
        drawings = [one for one in figure.all("svg") if one.attributes.get("role") == "img"]
        assert len(drawings) == 2 and all(len(one.attributes["aria-label"]) > 20 for one in drawings)
        assert figure.all("figcaption")[0].text.startswith("Figure ")
        (link,) = figure.all("a")
        assert base64.b64decode(link.attributes["href"].partition(",")[2])
    assert not [one for one in finished.page.all("img") if "alt" not in one.attributes]


def test_references_inside_a_drawing_stay_inside_it(finished: Finished) -> None:
    identifiers = {one.attributes["id"] for one in finished.page.walk() if "id" in one.attributes}
    for use in finished.page.all("use"):
        assert use.attributes["href"][1:] in identifiers
    named = re.findall(r"url\(#([^)]*)\)", finished.path.read_text(encoding="utf-8"))
    assert set(named) <= identifiers


def test_every_table_has_a_caption_and_headings_with_scope(finished: Finished) -> None:
    for table in finished.page.all("table"):
        assert table.all("caption")[0].text
        assert all(
            cell.attributes.get("scope") in ("col", "colgroup") for cell in table.all("thead")[0].all("th")
        )
        for row in table.all("tbody")[0].all("tr"):
            firsts = row.all("th")
            assert [cell.attributes["scope"] for cell in firsts] == ["row"] or row.text == "none"


def test_what_scrolls_sideways_can_be_reached_by_keyboard_and_has_a_name(finished: Finished) -> None:
    scrolling = [one for one in finished.page.walk() if "scroll" in one.attributes.get("class", "").split()]
    for region in (*scrolling, *finished.page.all("pre")):
        assert region.attributes["tabindex"] == "0" and region.attributes["role"] == "region"
        assert region.attributes["aria-label"]


def test_the_first_link_skips_to_the_answer(finished: Finished) -> None:
    first = finished.page.all("a")[0]
    assert first.attributes == {"class": "skip", "href": "#main"}
    assert finished.page.all("main")[0].attributes["id"] == "main"


def test_numbers_are_sorted_by_value_and_not_by_their_text(finished: Finished) -> None:
    costs = next(
        one for one in finished.page.all("table") if "planned and measured" in one.all("caption")[0].text
    )
    column = [cell.text for cell in costs.all("thead")[0].all("tr")[-1].all("th")].index("train FLOPs")
    keys = [float(_key(row, column)) for row in costs.all("tbody")[0].all("tr")]
    told = [float(row.all("th", "td")[column].text) for row in costs.all("tbody")[0].all("tr")]
    assert all(abs(key / text - 1) < 0.01 for key, text in zip(keys, told))


def test_headings_sort_by_buttons_that_tell_the_order() -> None:
    script = (TEMPLATES / "tables.js").read_text()
    assert 'createElement("button")' in script and "aria-sort" in script


def test_text_colours_have_contrast_on_every_background() -> None:
    colours = re.findall(r"(?<![-\w])color: (#[0-9a-f]{6})", STYLE) + re.findall(
        r"--(?:ink|soft|link): (#\w{6})", STYLE
    )
    tints = [*re.findall(r"--tint: (#\w{6})", STYLE), "#fffaf0"]
    darkest = max(contrast_on_white(tint) for tint in tints)
    assert len(colours) >= 4
    for colour in colours:
        assert contrast_on_white(colour) / darkest >= 4.5, colour


def test_focus_is_visible_motion_optional_and_print_unfolds() -> None:
    assert ":focus-visible { outline: 3px" in STYLE and "prefers-reduced-motion" in STYLE
    assert "@media print" in STYLE and "details::details-content" in STYLE
    assert "beforeprint" in (TEMPLATES / "tables.js").read_text()


def test_a_page_for_a_phone_shows_the_drawings_of_one_column(finished: Finished) -> None:
    narrow = [one for one in finished.page.walk() if "narrow-drawing" in one.attributes.get("class", "")]
    assert len(narrow) == len(finished.page.all("figure"))
    for drawing in narrow:
        width = float(drawing.all("svg")[0].attributes["viewbox"].split()[2])
        assert width < 260  # points: 3.35 inches


def _key(row: Element, column: int) -> str:
    return row.all("th", "td")[column].attributes["data-key"]


def test_templates_are_packaged_with_the_code() -> None:
    names = {path.name for path in Path(TEMPLATES).iterdir()}
    assert {"report.html", "blocks.html", "style.css", "tables.js"} <= names
