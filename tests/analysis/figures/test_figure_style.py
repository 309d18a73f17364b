"""Colours, ticks and labels: one look per objective, readable on white and with every common colour vision."""

import itertools

import matplotlib.colors
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_study import sweep_table

from analysis.figures import style
from analysis.figures.lettering import contrast_on_white, text_colour

PROJECT = ["superclass", "clip", "siglip", "superclip", "lit"]
# Machado, Oliveira & Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009),
# severity 1, on linear RGB
DEFICIENCIES = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}


def seen(colour: str, deficiency: str) -> np.ndarray:
    """CIE Lab of a colour as seen with a deficiency."""
    part = np.asarray(matplotlib.colors.to_rgb(colour))
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(DEFICIENCIES[deficiency]) @ linear, 0, 1)
    xyz = np.asarray([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 1e-3))
    return np.asarray([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("deficiency", sorted(DEFICIENCIES))
def test_colours_of_objectives_stay_apart_with_a_colour_vision_deficiency(deficiency: str) -> None:
    colours = style.objective_colours(PROJECT)
    for one, other in itertools.combinations(PROJECT, 2):
        distance = np.linalg.norm(seen(colours[one], deficiency) - seen(colours[other], deficiency))
        assert distance > 10, (one, other)  # 2.3 is just noticeable


@given(st.lists(st.sampled_from([*PROJECT, "openclip", "mammut", "coca", "blip"]), min_size=1, unique=True))
def test_an_objective_of_the_project_has_its_colour_whatever_else_is_drawn(names: list[str]) -> None:
    colours = style.objective_colours(names)
    alone = {name: style.objective_colours([name])[name] for name in names}
    assert {name: colours[name] for name in names if name in PROJECT} == {
        name: alone[name] for name in names if name in PROJECT
    }
    assert len(set(colours.values())) == len(names)


def test_the_colour_of_a_foreign_objective_does_not_depend_on_the_order() -> None:
    assert style.objective_colours(["openclip", "mammut"]) == style.objective_colours(["mammut", "openclip"])


@pytest.mark.parametrize("name", PROJECT)
def test_words_in_the_colour_of_an_objective_are_readable_on_white(name: str) -> None:
    colour = text_colour(style.objective_colours([name])[name])
    assert contrast_on_white(colour) >= 4.5  # WCAG 2.2, 1.4.3


def test_contrast_is_that_of_the_guideline_at_its_ends() -> None:
    assert contrast_on_white("#ffffff") == pytest.approx(1) and contrast_on_white("#000000") == pytest.approx(
        21
    )


def test_towers_are_ordered_by_size_and_have_a_marker_each() -> None:
    markers = style.tower_markers(sweep_table(seeds=1).sample(frac=1, random_state=0))
    assert list(markers) == ["vit_s16", "vit_b16", "vit_l16"] and len(set(markers.values())) == 3


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.9), (1e11, 1e19), (4.05, 4.6), (2e12, 9e13), (0.5, 0.52)])
def test_a_log_axis_gets_a_readable_number_of_ticks_inside_it(low: float, high: float) -> None:
    ticks = style.log_ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks) and np.all(np.diff(ticks) > 0)


@pytest.mark.parametrize(("value", "text"), [(1e13, "$10^{13}$"), (2e12, r"$2{\times}10^{12}$")])
def test_ten_to_a_power_is_written_as_such(value: float, text: str) -> None:
    assert style.power_text(value) == text
