"""A drawing is saved as a whole set of files, the same bytes every time, or not at all."""

import hashlib
import json
import os
from pathlib import Path

import pandas as pd
import pytest
from figure_gallery import Gallery
from simulated_study import METRIC, study_of, sweep_table

from analysis.figures.error import error_versus_compute
from analysis.figures.files import inline_svg, pdf_bytes, save_drawing, svg_text
from analysis.figures.provenance import plain, provenance
from scaling.records import WriteError

ENDINGS = ["csv", "json", "pdf", "png", "svg"]


def test_a_drawing_is_saved_as_five_files_whose_digests_the_json_holds(
    drawn: Gallery, tmp_path: Path
) -> None:
    drawing = drawn["error", "full"]
    paths = save_drawing(drawing, tmp_path / "figures")
    assert sorted(path.suffix[1:] for path in paths) == ENDINGS
    assert sorted(os.listdir(tmp_path / "figures")) == [f"{drawing.name}.{ending}" for ending in ENDINGS]
    facts = json.loads((tmp_path / "figures" / f"{drawing.name}.json").read_text())
    for path in paths:
        if path.suffix != ".json":
            assert facts["sha256"][path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["metric"] == METRIC and facts["alt"] == drawing.alt
    assert facts["fits"]["superclass"]["status"] == "ok" and facts["fits"]["clip"]["run_ids"]
    assert {"failed", "unfinished"} <= {rule["name"] for rule in facts["filters"] if rule["run_ids"]}


def test_the_saved_numbers_are_those_of_the_drawing_to_the_last_digit(drawn: Gallery, tmp_path: Path) -> None:
    drawing = drawn["ratio", "full"]
    save_drawing(drawing, tmp_path)
    read = pd.read_csv(tmp_path / f"{drawing.name}.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(read, drawing.data, check_exact=True)


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    table = sweep_table(seeds=1)
    for folder in ("first", "second"):
        save_drawing(error_versus_compute(study_of(table, num_refits=20)), tmp_path / folder)
    for path in sorted((tmp_path / "first").iterdir()):
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_where_one_file_cannot_be_written_the_old_set_stays(
    drawn: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = drawn["cost", "full"]
    save_drawing(drawing, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = Path.write_bytes

    def full_disk(path: Path, body: bytes) -> int:
        if path.name == "csv":
            raise OSError(28, "No space left on device")
        return write(path, body)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(WriteError, match=r"predicted_versus_measured_cost\.csv: not written \(No space left"):
        save_drawing(drawing, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_named(drawn: Gallery, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file"):
        save_drawing(drawn["cost", "full"], tmp_path / "file" / "figures")


def test_a_pdf_embeds_its_type_and_tells_no_date(drawn: Gallery) -> None:
    body = pdf_bytes(drawn["difference", "column"].figure)
    assert b"/FontFile2" in body and b"CreationDate" not in body


def test_a_page_can_hold_two_figures_without_their_identifiers_meeting(drawn: Gallery) -> None:
    svg = svg_text(drawn["cost", "full"].figure)
    first, second = (inline_svg(svg, name, 'says "so"') for name in ("one", "two"))
    assert 'aria-label="says &quot;so&quot;"' in first and "http" not in first.replace(
        "http://www.w3.org", ""
    )
    assert 'id="one-' in first and 'id="two-' in second and 'id="one-' not in second


def test_a_provenance_is_plain_json_even_of_open_ends() -> None:
    facts = provenance(upper=float("inf"), columns=("a",), sealed=frozenset({"b", "a"}))
    assert facts["upper"] is None and facts["columns"] == ["a"] and facts["sealed"] == ["a", "b"]
    with pytest.raises(TypeError, match="plain values"):
        plain(object())
