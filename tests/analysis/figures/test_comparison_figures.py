"""Ratio and difference show what is known, and where nothing is, say so instead of drawing a line."""

import dataclasses

import numpy as np
import pytest
from figure_gallery import comparison_of
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from simulated_study import study_of, sweep_table

from analysis.comparison.compare import Comparison, ComparisonStatus
from analysis.figures import style
from analysis.figures.difference import difference_versus_compute
from analysis.figures.drawing import Drawing
from analysis.figures.files import png_bytes
from analysis.figures.ratio import ratio_versus_compute

LOOKS = style.looks_of(sweep_table(seeds=1), ["superclass", "clip"])


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return comparison_of(study_of(sweep_table()))


def marks(drawing: Drawing, gid: str) -> list:
    artists = drawing.figure.findobj(lambda one: isinstance(one, (Line2D, Patch)))
    return [one for one in artists if (one.get_gid() or "").startswith(gid)]


def with_ratio(comparison: Comparison, lower: float, upper: float) -> Comparison:
    """The comparison with these ends at the last half of the computes, and nothing beyond."""
    assert comparison.ratio is not None
    half = len(comparison.ratio.compute_M) // 2
    ends = {name: getattr(comparison.ratio, name).copy() for name in ("lower_M", "upper_M")}
    ends["lower_M"][half:], ends["upper_M"][half:] = lower, upper
    return dataclasses.replace(
        comparison, ratio=dataclasses.replace(comparison.ratio, **ends), ratio_beyond=None
    )


def texts(drawing: Drawing) -> set[str]:
    return {text.get_text() for text in drawing.figure.axes[0].texts}


def test_the_ratio_has_its_line_of_equal_compute_and_the_sentence_in_words(comparison: Comparison) -> None:
    drawing = ratio_versus_compute(comparison, LOOKS)
    assert "equal compute" in texts(drawing)
    sentence = comparison.sentence()
    assert drawing.alt.startswith(sentence[:1].upper() + sentence[1:]) and sentence[1:] in drawing.caption


def test_the_drawn_ratio_is_the_compared_one(comparison: Comparison) -> None:
    drawing = ratio_versus_compute(comparison, LOOKS)
    band = comparison.ratio
    assert band is not None
    rows = drawing.data.set_index("train_flops").loc[band.compute_M]
    np.testing.assert_array_equal(
        rows[["ratio", "lower", "upper"]].T, [band.estimate_M, band.lower_M, band.upper_M]
    )


@pytest.mark.parametrize(("lower", "upper", "arrow"), [(0.0, 0.9, "open.down"), (0.4, np.inf, "open.up")])
def test_an_end_that_the_data_do_not_bound_is_an_arrow(
    comparison: Comparison, lower: float, upper: float, arrow: str
) -> None:
    drawing = ratio_versus_compute(with_ratio(comparison, lower, upper), LOOKS)
    (mark,) = marks(drawing, "open.")
    points_up, height = mark.get_marker() == "^", float(np.ravel(mark.get_ydata())[0])
    assert mark.get_gid() == arrow and points_up == (arrow == "open.up") == (height > 0.9)
    assert not marks(drawing, "not-identified")


def test_where_both_ends_are_open_the_stretch_is_hatched_and_named(comparison: Comparison) -> None:
    drawing = ratio_versus_compute(with_ratio(comparison, 0.0, np.inf), LOOKS)
    (hatched,) = marks(drawing, "not-identified")
    assert hatched.get_hatch() and "not identified" in texts(drawing)
    assert not marks(drawing, "open.")


def test_ratios_beyond_the_runs_are_shaded_and_dashed(comparison: Comparison) -> None:
    drawing = ratio_versus_compute(comparison, LOOKS)
    assert marks(drawing, "extrapolated") and "extrapolated" in texts(drawing)
    (line,) = marks(drawing, "ratio.extrapolated")
    assert line.is_dashed()


def test_without_intervals_the_whole_range_is_not_identified(comparison: Comparison) -> None:
    reason = "5 clusters, at least 8 are needed"
    bare = with_ratio(comparison, 0.0, np.inf)
    assert bare.ratio is not None and bare.difference is not None
    open_M = np.full(len(bare.compute_M), np.inf)
    bare = dataclasses.replace(
        bare,
        status=ComparisonStatus.NOT_IDENTIFIED,
        reason=reason,
        ratio=dataclasses.replace(bare.ratio, lower_M=np.zeros(len(open_M)), upper_M=open_M),
        difference=dataclasses.replace(bare.difference, lower_M=-open_M, upper_M=open_M, reason=reason),
        crossing=None,
        probability_better_M=np.zeros(0),
    )
    for drawing in (ratio_versus_compute(bare, LOOKS), difference_versus_compute(bare, LOOKS)):
        assert len(marks(drawing, "not-identified")) == 1 and "not identified" in texts(drawing)
        assert reason in drawing.alt


def test_a_refused_comparison_says_why_in_an_empty_panel(comparison: Comparison) -> None:
    nothing = np.zeros(0)
    refused = dataclasses.replace(
        comparison,
        status=ComparisonStatus.REFUSED,
        reason="losses of different objectives do not compare",
        ratio=None, ratio_beyond=None, difference=None, crossing=None, compute_M=nothing, probability_better_M=nothing,
    )  # fmt: skip
    for drawing in (ratio_versus_compute(refused, LOOKS), difference_versus_compute(refused, LOOKS)):
        assert drawing.data.empty and png_bytes(drawing.figure)
        assert (
            "do not compare" in " ".join(texts(drawing)).replace("\n", " ")
            and "do not compare" in drawing.alt
        )


def test_the_difference_names_who_is_better_on_either_side_of_0(comparison: Comparison) -> None:
    drawing = difference_versus_compute(comparison, LOOKS)
    heights = {text.get_text(): text.xy[1] for text in drawing.figure.axes[0].texts}
    # difference = superclass - clip, of an error
    assert heights["clip better"] > 0 > heights["superclass better"]


def test_computes_at_which_the_errors_are_not_told_apart_are_marked_on_0(comparison: Comparison) -> None:
    assert comparison.difference is not None and comparison.crossing is not None
    low, high = comparison.compute_M[3], comparison.compute_M[-3]
    interval = dataclasses.replace(
        comparison.ratio_at(low), estimate=low, lower=float(low), upper=float(high), reason=""
    )
    crossing = dataclasses.replace(comparison.crossing, intervals=(interval,), estimates=(float(low) * 1.5,))
    drawing = difference_versus_compute(dataclasses.replace(comparison, crossing=crossing), LOOKS)
    line, dot = marks(drawing, "crossing")
    np.testing.assert_allclose(line.get_xdata(), [low, high])
    assert "not told apart" in texts(drawing) and float(np.ravel(dot.get_xdata())[0]) == pytest.approx(
        low * 1.5
    )
