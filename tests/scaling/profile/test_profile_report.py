"""The page and the numbers of a profile."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from profiled import PEAKS, QUICKSTART, profile_of
from rich.console import Console

from scaling.profile.comparison import compare_with_clip
from scaling.profile.drawing import LEFT, MARKER, WIDTH, apart
from scaling.profile.profile_report import ProfileReport, report_as_json
from scaling.profile.render import duration, main_operators, page_of, significant, size
from scaling.profile.report import profile_sweep
from scaling.profile.step_profile import StepProfile
from scaling.spec import load_sweep


def report(question: str = "Which one?") -> ProfileReport:
    profiles = [profile_of("superclass"), profile_of("clip")]
    return ProfileReport(
        sweep="quickstart",
        question=question,
        peaks=PEAKS,
        profiles=profiles,
        compared=compare_with_clip(profiles),
        files={profile.reduced.point.run_id: ["a.trace.json.gz"] for profile in profiles},
    )


def test_superclass_stands_beside_clip_with_the_shares_that_were_measured() -> None:
    superclass, clip = profile_of("superclass"), profile_of("clip")
    first, second = compare_with_clip([superclass, clip])
    assert (first.objective, first.peak_share, first.seconds_share) == ("clip", 1.0, 1.0)
    assert second.peak_share == superclass.memory.peak.total / clip.memory.peak.total
    assert second.seconds_share == superclass.seconds_per_step / clip.seconds_per_step
    assert second.model_flops_share < 1
    assert f"{second.peak_share:.0%} of CLIP's memory" in second.sentence


def test_what_else_differs_between_places_is_told_apart() -> None:
    def on(engine: str, name: str) -> StepProfile:
        profile = profile_of(name)
        placement = profile.reduced.point.placement.model_copy(update={"engine": engine})
        point = profile.reduced.point.model_copy(update={"placement": placement})
        return dataclasses.replace(profile, reduced=dataclasses.replace(profile.reduced, point=point))

    engines = ("deepspeed", "fsdp")
    rows = compare_with_clip([on(engine, name) for engine in engines for name in ("clip", "superclass")])
    assert [row.place for row in rows] == [f"engine {name}" for name in engines for _ in range(2)]
    assert all(f" samples, {row.place}: " in row.sentence for row in rows)
    alone = compare_with_clip([on("fsdp", name) for name in ("clip", "superclass")])
    assert [row.place for row in alone] == ["", ""] and " samples: " in alone[1].sentence


def test_times_that_other_processes_disturbed_are_not_compared_in_words() -> None:
    quiet = [
        dataclasses.replace(profile_of(name), seconds_per_step=seconds, processor_seconds_per_step=seconds)
        for name, seconds in (("superclass", 1.0), ("clip", 2.0))
    ]
    assert "50% of its time per sample" in compare_with_clip(quiet)[1].sentence
    held_up = dataclasses.replace(quiet[1], seconds_per_step=9.0)
    told = compare_with_clip([quiet[0], held_up])[1].sentence
    assert "other processes held the cores" in told and "of its time" not in told


def test_objectives_at_different_micro_batches_are_not_compared() -> None:
    clip = profile_of("clip")
    point = clip.reduced.point
    placement = point.placement.model_copy(update={"micro_batch": 4})
    smaller = dataclasses.replace(clip.reduced, point=point.model_copy(update={"placement": placement}))
    assert not compare_with_clip([profile_of("superclass"), dataclasses.replace(clip, reduced=smaller)])


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = page_of(report())
    assert "<script" not in page and "<link" not in page and "@import" not in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


def test_every_figure_says_in_words_what_it_shows_and_headings_are_in_order() -> None:
    page = page_of(report())
    figures = re.findall(r"<svg[^>]*>", page)
    assert len(figures) == 3 * 2
    assert all('role="img"' in figure and 'aria-label="' in figure for figure in figures)
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(levels, levels[1:], strict=False))


def test_model_and_hardware_flops_are_two_columns() -> None:
    page = page_of(report())
    for name in ("model GFLOPs per sample", "hardware GFLOPs per sample", "MFU", "HFU"):
        assert f'<th scope="col">{name}</th>' in page


def test_a_question_with_markup_is_shown_as_it_was_written() -> None:
    assert "Is a &lt; b &amp; c?" in page_of(report("Is a < b & c?"))


def test_the_numbers_are_plain_json_with_a_total_that_adds_up() -> None:
    plain = json.loads(json.dumps(report_as_json(report())))
    for profile in plain["profiles"]:
        by_class = profile["memory_at_peak_bytes"]
        assert by_class.pop("total") == sum(by_class.values())
        assert profile["operators"] and profile["modules"] and profile["memory_timeline"]
    assert [row["objective"] for row in plain["compared_with_clip"]] == ["clip", "superclass"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.03567, "0.0357"),
        (0.0, "0"),
        (4.2, "4.20"),
        (9.999, "10.0"),
        (999.9, "1,000"),
        (123456.0, "123,456"),
    ],
)
def test_numbers_have_three_digits_that_say_something(number: float, text: str) -> None:
    assert significant(number) == text


def test_no_marker_of_a_roofline_hides_another() -> None:
    crowd = [(400.0 + dx, 200.0 + dy) for dx in (0, 1, 2) for dy in (0, 3, 6, 9)]
    places = apart(crowd, bottom=320.0)
    assert places[0] == crowd[0], "the first stands where it is"
    assert min(math.dist(one, other) for one, other in itertools.combinations(places, 2)) > 2 * MARKER
    assert all(LEFT < x < WIDTH and 0 < y < 320 for x, y in places)


def test_products_are_shown_under_the_roof_also_where_other_operators_took_longer() -> None:
    operators = profile_of("superclass").operators
    slow = [
        dataclasses.replace(each, seconds=each.seconds * (1 if each.flops else 1e6)) for each in operators
    ]
    shown = main_operators(sorted(slow, key=lambda operator: -operator.seconds))
    assert sum(operator.flops > 0 for operator in shown) >= 5
    assert [each.seconds for each in shown] == sorted((each.seconds for each in shown), reverse=True)


def test_units_follow_the_size() -> None:
    assert [size(number).split()[1] for number in (12, 1.2e3, 1.2e6, 1.2e9)] == ["B", "kB", "MB", "GB"]
    assert [duration(seconds).split()[1] for seconds in (0.5, 2)] == ["ms", "s"]


@pytest.mark.parametrize(
    ("steps", "output", "told"),
    [
        (0, "profile.html", "--steps 0: at least one"),
        (3, "profile.pdf", "profile.pdf: the profile is an HTML page"),
    ],
)
def test_what_cannot_be_profiled_is_refused_before_anything_runs(
    steps: int, output: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=told):
        profile_sweep(load_sweep(QUICKSTART), None, steps, tmp_path / output, Console())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["deepspeed", "fsdp"])
def test_a_sweep_is_profiled_through_its_own_engine_as_predicted_and_leaves_nothing_in_shared_memory(
    tmp_path: Path, engine: str
) -> None:
    program = (
        "import sys, pathlib; from rich.console import Console; from scaling.spec import load_sweep;"
        "from scaling.profile.report import profile_sweep;"
        "sweep = load_sweep(pathlib.Path(sys.argv[1]), ['image_tower=vit_micro8', 'engine=' + sys.argv[3]]);"
        "sys.exit(profile_sweep(sweep, None, 1, pathlib.Path(sys.argv[2]), Console()))"
    )
    page, before = tmp_path / "profile.html", set(Path("/dev/shm").iterdir())
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [str(QUICKSTART), str(page), engine]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, env=environment)
    plain = json.loads(page.with_suffix(".json").read_text())
    assert {profile["placement"]["engine"] for profile in plain["profiles"]} == {engine}
    for profile in plain["profiles"]:
        measured = profile["memory_at_peak_bytes"]["total"]
        assert profile["predicted_memory_bytes"] == pytest.approx(measured, rel=0.10)
        whole, tower = profile["modules"][0], profile["modules"][1]
        assert whole["parameters"] == sum(profile["parameters"].values())
        assert 0 < tower["forward_flops"] < whole["forward_flops"]
        assert max(moment["bytes_by_class"]["gradients"] for moment in profile["memory_timeline"]) > 0
    for written in plain["files"].values():
        assert all((tmp_path / name).stat().st_size for name in written) and written
    left = {path.name for path in set(Path("/dev/shm").iterdir()) - before}
    assert not [name for name in left if name.startswith("deepspeed_allreduce_buffer")]
