"""The report: one page that opens offline, names what failed, and states no law it cannot defend."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from simulated_sweep import SweepFolder, noisy_error, science

from analysis.load import load_sweep
from analysis.report import write_report
from analysis.varied import what_varied
from analysis.wording import standing
from scaling.records import WriteError

VOID = {"meta", "br", "hr", "img", "link", "input", "col"}


class WellFormed(HTMLParser):
    """Collects text and attributes; fails on a tag that closes another one's element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.references: list[str] = []
        self.identifiers: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        self.identifiers += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> WellFormed:
    page = WellFormed()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepFolder, Path]:
    """A finished sweep of 18 runs and its page."""
    folder = SweepFolder(tmp_path_factory.mktemp("simulated"))
    folder.add_grid(noisy_error(2))
    folder.plan("Does one objective keep its lead?")
    return folder, write_report(folder.path, tmp_path_factory.mktemp("out") / "new" / "report.html")


@pytest.fixture
def small(sweep_folder: SweepFolder) -> SweepFolder:
    """Four finished runs, too few for a law and quick to report."""
    for objective in ("superclass", "clip"):
        for tower in ("vit_nano8", "vit_micro8"):
            sweep_folder.add(science(objective, tower, 8_192), "done", error=0.5)
    sweep_folder.plan()
    return sweep_folder


def test_the_page_is_well_formed_and_refers_to_nothing_outside_itself(
    full_report: tuple[SweepFolder, Path],
) -> None:
    page = read(full_report[1])
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    assert not re.search(r"https?:|//\w|@import|<script", full_report[1].read_text(encoding="utf-8"))
    assert len(page.identifiers) == len(set(page.identifiers))


def test_the_page_states_question_laws_runs_and_environment(full_report: tuple[SweepFolder, Path]) -> None:
    folder, path = full_report
    text = read(path).text
    assert "Does one objective keep its lead?" in text
    assert "18 runs: 18 done" in text
    assert text.count("Fitted to 9 runs: error = floor + scale") == 2
    for run_id in load_sweep(folder.path)["run_id"]:
        assert run_id in text
    assert "torch" in text and "2.15" in text and "used in the fit" in text


def test_figures_stand_beside_the_page_as_svg_png_and_csv(full_report: tuple[SweepFolder, Path]) -> None:
    names = {path.name for path in (full_report[1].parent / "figures").iterdir()}
    stem = "linear_probe_top1_versus_compute"
    assert {f"{stem}.svg", f"{stem}.png", f"{stem}.csv", "held_out_loss_versus_compute.svg"} <= names


def test_a_failed_run_is_named_with_its_reason_and_counted_out(
    sweep_folder: SweepFolder, tmp_path: Path
) -> None:
    sweep_folder.add(science("superclass", "vit_tiny8", 8_192), "done", error=0.5)
    run_id = sweep_folder.add(science("clip", "vit_tiny8", 8_192), "oom", reason="3 GB asked, 2 GB free")
    text = read(write_report(sweep_folder.path, tmp_path / "report.html")).text
    assert f"{run_id} failed (oom): 3 GB asked, 2 GB free." in text
    assert "failed: the run failed and has no score" in text
    assert "clip: no finished run has a linear probe error" in " ".join(text.split())


def test_a_reason_with_markup_is_shown_and_not_obeyed(sweep_folder: SweepFolder, tmp_path: Path) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "error", reason="<script>alert(1)</script>")
    path = write_report(sweep_folder.path, tmp_path / "report.html")
    assert "<script>" not in path.read_text() and "<script>alert(1)</script>" in read(path).text


@pytest.mark.parametrize("finished", [0, 1, 3])
def test_a_sweep_in_progress_gives_a_page_that_says_what_is_missing(
    sweep_folder: SweepFolder, tmp_path: Path, finished: int
) -> None:
    for index, samples in enumerate((8_192, 16_384, 32_768, 65_536)):
        point = science("superclass", "vit_nano8", samples)
        done = index < finished
        sweep_folder.add(point, "done" if done else "running", error=0.9 - index / 10 if done else None)
    text = read(write_report(sweep_folder.path, tmp_path / "report.html")).text
    assert "Missing, or not to be compared." in text and "running" in text
    assert "no law is stated" in text.lower() and "Fitted to" not in text


def test_an_empty_sweep_folder_gives_a_page_that_says_so(sweep_folder: SweepFolder, tmp_path: Path) -> None:
    assert "holds no run" in read(write_report(sweep_folder.path, tmp_path / "report.html")).text


def test_planned_points_that_were_never_started_are_counted(small: SweepFolder, tmp_path: Path) -> None:
    for path in sorted(small.path.glob("clip-vit_micro8-*")):
        path.rename(tmp_path / path.name)
    text = read(write_report(small.path, tmp_path / "report.html")).text
    assert "Planned, but without a run directory: 1 run." in text


def test_a_given_table_of_what_varied_is_the_one_shown(small: SweepFolder, tmp_path: Path) -> None:
    varied = [
        {"field": "objective", "kind": "axis", "values": ("superclass", "clip")},
        {"field": "global_batch", "kind": "constant", "values": (16_384,)},
    ]
    text = read(write_report(small.path, tmp_path / "report.html", varied=varied)).text
    assert "superclass, clip" in text and "16,384" in text and "bf16_autocast" not in text


def test_the_planners_table_of_what_varied_is_shown_if_the_plan_covers_the_runs(
    small: SweepFolder, tmp_path: Path
) -> None:
    small.plan(varied=[{"field": "learning_rate", "kind": "axis", "values": [0.25]}])
    assert "learning_rate" in read(write_report(small.path, tmp_path / "report.html")).text
    small.add(science("clip", "vit_tiny8", 65_536), "queued")
    assert "learning_rate" not in read(write_report(small.path, tmp_path / "report.html")).text


def test_without_a_given_table_what_varied_is_computed_from_the_runs(small: SweepFolder) -> None:
    kinds = {row["field"]: row["kind"] for row in what_varied(load_sweep(small.path))}
    assert kinds == {
        "objective": "axis",
        "image_tower": "axis",
        "text_tower": "derived (follows objective and image_tower)",
        "samples_seen": "constant",
        "seed": "constant",
        "global_batch": "constant",
        "precision": "constant",
    }


def test_another_metric_can_be_asked_for(small: SweepFolder, tmp_path: Path) -> None:
    text = read(
        write_report(small.path, tmp_path / "report.html", metric="retrieval.image_to_text_recall_at_10")
    ).text
    assert "retrieval error (1 - image_to_text_recall_at_10)" in text


def test_an_output_that_is_not_html_is_refused(small: SweepFolder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ends in .html"):
        write_report(small.path, tmp_path / "report")


def test_an_output_folder_that_cannot_exist_is_a_typed_error(small: SweepFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="choose another folder"):
        write_report(small.path, tmp_path / "file" / "report.html")


def test_analysis_never_imports_torch() -> None:
    code = (
        "import sys, analysis.report; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_objectives_may_have_their_own_protocol_but_one_objective_may_not_mix_two() -> None:
    runs = {
        "objective": ["superclass", "superclass", "clip"],
        "run_id": ["a", "b", "c"],
        "status": ["done"] * 3,
        "evaluation.held_out_loss.protocol": ["label-softmax@1", "label-softmax@1", "info-nce@1"],
    }
    assert standing(pd.DataFrame(runs), 0) == []
    runs["evaluation.held_out_loss.protocol"][1] = "label-softmax@2"
    (sentence,) = standing(pd.DataFrame(runs), 0)
    assert (
        sentence == "held_out_loss of superclass was measured by 2 protocols: its scores do not all compare."
    )
